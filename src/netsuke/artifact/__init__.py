"""The file on disk: its contract, its container, its graph, and the reference interpreter. Imports no torch."""

from .container import decode as decode
from .container import encode as encode
from .container import parts as parts
from .container import read as read
from .container import read_bytes as read_bytes
from .container import save as save
from .contract import Error as Error
from .embeddings import Table as Table
from .embeddings import decode_tables as decode_tables
from .embeddings import holds_tables as holds_tables
from .embeddings import read_tables as read_tables
from .embeddings import save_tables as save_tables
from .graph import Graph as Graph
from .infer import Value as Value
from .infer import infer as infer
from .integers import float_operations as float_operations
from .pools import has_few_values as has_few_values
from .reference import Reference as Reference
