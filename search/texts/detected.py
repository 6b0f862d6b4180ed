"""What `detect` prints of each unexpected symbol."""

from __future__ import annotations

from lstm_sweep.search.results.detect import Finding, Symbol


def finding_line(finding: Finding, *, is_text: bool) -> str:
    """A finding in a line for people; `is_text` says whether symbols are characters, or event ids.

    Its control characters are not escaped.
    """

    def text(*symbols: Symbol) -> str:
        return repr("".join(map(str, symbols))) if is_text else " ".join(map(str, symbols))

    expected = ", ".join(f"{text(symbol)} ({chance:.2g})" for symbol, chance in finding.expected)
    what = f"({finding.probability:.2g})" if finding.known else "(not in the training data)"
    after = f" after {text(*finding.before)}" if finding.before else " at the beginning"
    place = f"{finding.session}, symbol {finding.place:,}"
    return f"{place}: {text(finding.symbol)} {what}{after}; expected {expected}"
