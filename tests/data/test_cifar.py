"""CIFAR as it is published: both versions, unpacked or in their archives, whole, cut short and hostile."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netsuke.artifact.contract import Error
from netsuke.data import open_dataset
from netsuke.data.pickles import read_pickle

TEN = [f"class{i}" for i in range(10)]
HUNDRED = [f"class{i}" for i in range(100)]


class Python2Pickler(pickle._Pickler):  # type: ignore[name-defined]
    """Writes str and bytes as Python 2 wrote its strings, which is how CIFAR's files were written."""

    dispatch = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def string(self, value: str | bytes) -> None:
        raw = value.encode("latin-1") if isinstance(value, str) else value
        self.write(b"U" + bytes([len(raw)]) + raw if len(raw) < 256 else b"T" + len(raw).to_bytes(4, "little") + raw)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = string


def python2(value: Any) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file, 2).dump(value)
    return file.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def made(count: int = 3, classes: int = 10, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, 3072), np.uint8), random.integers(0, classes, count)


def batch(seed: int, write: Any = python2) -> bytes:
    pixels, labels = made(seed=seed)
    return write({"batch_label": "a batch", "labels": labels.tolist(), "data": pixels, "filenames": ["a.png"] * 3})


def python_files() -> dict[str, bytes]:
    files = {f"data_batch_{i}": batch(i) for i in range(1, 6)}
    meta = python2({"num_cases_per_batch": 3, "label_names": TEN, "num_vis": 3072})
    return {**files, "test_batch": batch(0), "batches.meta": meta, "readme.html": b"hello"}


def binary_files() -> dict[str, bytes]:
    def records(seed: int) -> bytes:
        pixels, labels = made(seed=seed)
        return np.concatenate([labels[:, None].astype(np.uint8), pixels], axis=1).tobytes()

    files = {f"data_batch_{i}.bin": records(i) for i in range(1, 6)}
    return {**files, "test_batch.bin": records(0), "batches.meta.txt": "\n".join(TEN).encode()}


def unpack(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def archive(path: Path, folder: str, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def check(path: Path) -> None:
    test, train = open_dataset(f"cifar10:{path}"), open_dataset(f"cifar10:{path}", "train")
    pixels, labels = made(seed=0)
    assert np.array_equal(test.read(np.arange(3))[0], pixels.reshape(3, 3, 32, 32))
    assert test.labels.tolist() == labels.tolist()
    assert (len(train), test.classes, test.name) == (15, tuple(TEN), "cifar10 test")
    assert np.array_equal(train.read(np.arange(15))[0].reshape(15, 3072)[12:], made(seed=5)[0])


@pytest.mark.parametrize("version", ["bin", "py"])
@pytest.mark.parametrize("place", ["folder", "holds folder", "archive", "holds archive", "plain tar"])
def test_cifar10_is_read_as_published(tmp_path: Path, version: str, place: str) -> None:
    files = binary_files() if version == "bin" else python_files()
    folder, name = f"cifar-10-batches-{version}", f"cifar-10-{'binary' if version == 'bin' else 'python'}.tar.gz"
    if place == "folder":
        check(unpack(tmp_path / "anywhere", files))
    elif place == "holds folder":
        check(unpack(tmp_path / folder, files).parent)
    elif place == "archive":
        check(archive(tmp_path / "renamed.tgz", folder, files))
    elif place == "plain tar":
        check(archive(tmp_path / "cifar.tar", folder, files, "w:"))
    else:
        check(archive(tmp_path / name, folder, files).parent)


@pytest.mark.parametrize("version", ["bin", "python"])
def test_cifar100_is_read_as_published(tmp_path: Path, version: str) -> None:
    pixels, fine = made(classes=100)
    if version == "python":
        content = python2({"data": pixels, "fine_labels": fine.tolist(), "coarse_labels": [0, 0, 0]})
        files = {"test": content, "train": content, "meta": python2({"fine_label_names": HUNDRED})}
        archive(tmp_path / "cifar-100-python.tar.gz", "cifar-100-python", files)
    else:
        records = np.concatenate([np.zeros((3, 1), np.uint8), fine[:, None].astype(np.uint8), pixels], axis=1).tobytes()
        names = "\n".join(HUNDRED).encode()
        archive(tmp_path / "cifar-100-binary.tar.gz", "x", {"test.bin": records, "fine_label_names.txt": names})
    data = open_dataset(f"cifar100:{tmp_path}")
    assert np.array_equal(data.read(np.arange(3))[0].reshape(3, 3072), pixels)
    assert (data.labels.tolist(), data.classes) == (fine.tolist(), tuple(HUNDRED))


@pytest.mark.parametrize("protocol", [0, 2, 3, 4])
def test_files_that_python_3_pickled_again_are_read(tmp_path: Path, protocol: int) -> None:
    if protocol == 0:  # its arrays need a codec that no published file uses
        assert read_pickle(pickle.dumps({"a": [1, -2, "b", 2.5]}, 0), "x") == {"a": [1, -2, "b", 2.5]}
    else:
        files = {"test_batch": batch(0, lambda value: pickle.dumps(value, protocol))}
        data = open_dataset(f"cifar10:{unpack(tmp_path, files)}")
        assert np.array_equal(data.read(np.arange(3))[0].reshape(3, 3072), made(seed=0)[0])


def test_the_oldest_form_and_columns_first_are_read(tmp_path: Path) -> None:
    """A text pickle, and an array that was stored transposed."""
    names = "".join(f"S'{name}'\np{i + 5}\na" for i, name in enumerate(TEN))
    meta = f"(dp1\nS'num_cases_per_batch'\np2\nL10000L\nsS'label_names'\np3\n(lp4\n{names}s."
    pixels, labels = made()
    content = {"data": np.asfortranarray(pixels), "labels": labels.tolist()}
    unpack(tmp_path, {"test_batch": python2(content), "batches.meta": meta.encode()})
    data = open_dataset(f"cifar10:{tmp_path}")
    assert data.classes == tuple(TEN)
    assert np.array_equal(data.read(np.arange(3))[0].reshape(3, 3072), pixels)


def test_the_images_can_be_written_to(tmp_path: Path) -> None:
    data = open_dataset(f"cifar10:{unpack(tmp_path, python_files())}")
    images = data.read(np.arange(3))[0]
    images[:] = 0
    assert images.flags.c_contiguous


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner) | st.tuples(),
)


@given(values, st.integers(3, 4))
@example([1 << 40, -(1 << 2050), (1,), (1, 2, 3), (1, 2, 3, 4), "\udcff"], 2)
def test_data_of_any_shape_comes_back(value: Any, protocol: int) -> None:
    assert read_pickle(pickle.dumps(value, protocol), "x") == value


def outcome(data: bytes) -> str:
    """The error's text, or nothing; anything but an Error fails the test."""
    try:
        read_pickle(data, "x")
    except Error as error:
        return str(error)
    return ""


@given(st.binary(max_size=60))
def test_random_bytes_give_an_error_or_data(data: bytes) -> None:
    assert len(outcome(data).splitlines()) <= 2


@given(st.sampled_from([slice(0, 300), slice(-300, None)]), st.integers(0, 299), st.integers(0, 255))
def test_a_changed_byte_gives_an_error_or_data(part: slice, place: int, value: int) -> None:
    content = bytearray(batch(0))
    content[range(len(content))[part][place]] = value
    assert len(outcome(bytes(content)).splitlines()) <= 2


class Hostile:
    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> Any:
        return self.call, self.arguments


def touch(path: str) -> None:
    Path(path).touch()


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_pickle_that_calls_is_refused_and_calls_nothing(tmp_path: Path, protocol: int) -> None:
    victim = tmp_path / "touched"
    for payload in (Hostile(touch, str(victim)), {"data": [Hostile(eval, f"open({str(victim)!r}, 'w')")]}):
        unpack(tmp_path, {"test_batch": pickle.dumps(payload, protocol)})
        with pytest.raises(Error, match="does more than hold data.*it is not read") as caught:
            open_dataset(f"cifar10:{tmp_path}")
        assert len(str(caught.value).splitlines()) <= 2
    assert not victim.exists()


ATTACKS = {
    "an object": pickle.dumps(Path("x"), 2),
    "numpy's own loader": b"cnumpy\nload\n(S'x'\ntR.",
    "an object array": python2(np.array([[1, "a"]], object)),
    "an array of floats": python2(np.zeros((1, 3072))),
    "a persistent name": b"P1\n.",
    "an extension": b"\x82\x01.",
    "a codec that decodes": b"c_codecs\nencode\n(S'x'\nS'zlib'\ntR.",
    "a call of a string": b"S'os.system'\n(S'x'\ntR.",
    "the attributes of a type": b"cnumpy\nndarray\n}S'__call__'\nK\x01sb.",
    "a class by its instance": b"(S'x'\nios\nsystem\n.",
}
BROKEN = {
    "empty": b"",
    "cut": batch(0)[:-1],
    "cut in the array": batch(0)[:5000],
    "a place in memory that is empty": b"h\x05.",
    "no mark": b"e.",
    "an append to a number": b"K\x01K\x02a.",
    "an item of a list": b"]K\x01K\x02s.",
    "a key that cannot be one": b"}]K\x01s.",
    "a huge length": b"T\xff\xff\xff\x7fabc.",
    "a huge place": b"K\x01r\xff\xff\xff\x7fK\x01.",
    "two results": b"K\x01K\x01.",
    "nothing": b".",
    "a shape that is none": python2(np.zeros((2, 8), np.uint8)).replace(b"K\x02K\x08", b"K\x02K\x09"),
    "nested tuples": b")" + b"\x85" * 100_000 + b".",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_pickle_that_does_more_is_refused(name: str) -> None:
    with pytest.raises(Error, match="does more than hold data"):
        read_pickle(ATTACKS[name], "test_batch")


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_pickle_is_no_set(tmp_path: Path, name: str) -> None:
    unpack(tmp_path, {"test_batch": BROKEN[name]})
    with pytest.raises(Error) as caught:
        open_dataset(f"cifar10:{tmp_path}")
    assert "test_batch" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        ({"data": np.zeros((2, 3072), np.uint8)}, "`data` and `labels`"),
        ([1, 2], "`data` and `labels`"),
        ({"data": np.zeros((2, 3071), np.uint8), "labels": [0, 0]}, "n x 3072"),
        ({"data": [1], "labels": [0]}, "n x 3072"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}, "2 images but 1 labels"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 10]}, "label 10"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0, -1]}, "list of labels"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": ["a", "b"]}, "list of labels"),
        ({"data": np.zeros((0, 3072), np.uint8), "labels": []}, "no images"),
    ],
)
def test_a_dict_that_is_not_cifars_is_refused(tmp_path: Path, content: Any, pattern: str) -> None:
    unpack(tmp_path, {"test_batch": python2(content)})
    with pytest.raises(Error, match=pattern):
        open_dataset(f"cifar10:{tmp_path}")


def test_a_missing_batch_is_named(tmp_path: Path) -> None:
    files = python_files()
    del files["data_batch_3"]
    with pytest.raises(Error, match=r"no data_batch_3 in .*cifar\.tar"):
        open_dataset(f"cifar10:{archive(tmp_path / 'cifar.tar', 'x', files, 'w:')}", "train")
    with pytest.raises(Error, match=r"no test\.bin in"):
        open_dataset(f"cifar100:{tmp_path / 'cifar.tar'}")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("name", ["cifar-10-binary.tar.gz", "cifar-10-binary.tar"])
def test_an_archive_cut_short_is_refused(tmp_path: Path, share: float, name: str) -> None:
    path = archive(tmp_path / name, "cifar-10-batches-bin", binary_files(), "w:gz" if name.endswith("gz") else "w:")
    whole = path.read_bytes()
    end = len(whole) if name.endswith("gz") else 5 * (512 + 3 * 3073)  # up to the last file that is wanted
    path.write_bytes(whole[: int(end * share)])
    with pytest.raises(Error, match="no whole tar archive|no data_batch") as caught:
        open_dataset(f"cifar10:{path}", "train")
    assert len(str(caught.value).splitlines()) <= 2


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "cifar-10-python.tar.gz", "cifar-10-batches-py", python_files())
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1  # random pixels are stored as they are: only the checksum can tell
    path.write_bytes(damaged)
    with pytest.raises(Error, match="CRC"):
        open_dataset(f"cifar10:{path}")
    path.write_bytes(gzip.compress(b"hello" * 1000))
    with pytest.raises(Error, match="no whole tar archive"):
        open_dataset(f"cifar10:{path}")


def test_a_file_of_the_set_alone_is_refused(tmp_path: Path) -> None:
    unpack(tmp_path, binary_files())
    with pytest.raises(Error, match="name the folder"):
        open_dataset(f"cifar10:{tmp_path}/test_batch.bin")


@pytest.mark.parametrize(
    ("name", "kind"), [("cifar-10-python.tar.gz", "cifar10"), ("cifar-100-binary.tar.gz", "cifar100")]
)
def test_an_archive_without_its_kind_gets_one_proposed(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).touch()
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(Error, match=f"write {kind}:{path}$"):
            open_dataset(str(path))
