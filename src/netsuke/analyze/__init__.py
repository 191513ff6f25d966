"""What can be told about networks without training them."""

from netsuke.analyze.knowledge_complexity import TeacherScore, knowledge_complexity

__all__ = ["TeacherScore", "knowledge_complexity"]
