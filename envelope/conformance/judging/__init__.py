"""Whether what was seen is what the convention asks for. Judges what it is given, and sends nothing."""

from envelope.conformance.judging.document import judge_document, judge_operation
from envelope.conformance.judging.exchange import judge

__all__ = ["judge", "judge_document", "judge_operation"]
