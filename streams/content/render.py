"""Templates become patterns: one body with holes for a whole campaign where that is possible, else one text each.

Rules:

1. A template whose parts only interpolate (no ``if``, ``for``, ``set``) is *plain*: its parts are patterns with slots,
   and each recipient fills the slots with their own values. Everything else is rendered per recipient.
2. A slot's value is final: escaped for HTML where it stands in HTML, on one line where it stands in the subject. So a
   variable has one slot per place it is used in: ``s_``, ``t_`` and ``h_`` before its name.
3. Inline content is literal; it is never interpolated.
4. A template that cannot be read, a variable that is missing and a render without end are values
   (:class:`RenderFailure`), the message's own fault.
5. One render at a time, on one thread.
6. HTML that has no text beside it gets one made from it (:mod:`streams.content.plain_text`): of a plain template once,
   with the same holes, else of each recipient's own page.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from jinja2 import Template as JinjaTemplate
from jinja2 import nodes
from jinja2.exceptions import TemplateSyntaxError, UndefinedError
from markupsafe import escape

from streams.content.mime import nothing_hidden
from streams.content.plain_text import CLOSE, OPEN, text_of, without_marks
from streams.content.template_sandbox import Limits, MailEnvironment
from streams.core.event import Reason, ReasonKind
from streams.core.message import Content, Message, Template
from streams.providers.base import Pattern, Slot


@dataclass(frozen=True, slots=True)
class RenderFailure:
    """Why there is no text: kind ``template`` if the template is broken, ``rendering`` if it fails with this data."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Rendered:
    """The finished parts for one recipient: patterns without slots."""

    subject: Pattern
    text: Pattern
    html: Pattern


@dataclass(frozen=True, slots=True)
class _Hole:
    """How a slot gets its value: a path into the data, or an expression that Jinja2 evaluates."""

    name: str
    path: tuple[str | int, ...]
    expression: JinjaTemplate | None
    markup: bool = False
    """Its value is HTML by the template's own word (``safe``), also where it stands in text."""


@dataclass(frozen=True, slots=True)
class Part:
    """Subject, text or HTML of a template, ready to be filled."""

    pattern: Pattern
    holes: tuple[_Hole, ...]
    whole: JinjaTemplate | None
    """Set where the part is not plain."""
    environment: MailEnvironment
    html: bool
    one_line: bool
    derived: bool = False
    """It is made from the finished HTML."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A content ready to be rendered. If ``plain``, the patterns serve every recipient of the content."""

    plain: bool
    subject: Pattern
    text: Pattern
    html: Pattern
    parts: tuple[Part, ...]
    data: Mapping[str, Any]


def compile_content(
    content: Content, limits: Limits | None = None, *, text_from_html: bool = True
) -> Compiled | RenderFailure:
    """Prepare a content; literal content is plain and has no slots. A whole MIME message has no parts at all."""
    if content.template is None:
        text = content.text or (text_of(without_marks(content.html)) if content.html and text_from_html else "")
        return Compiled(True, _literal(content.subject), _literal(text), _literal(content.html), (), {})
    try:
        subject, text_part, html = parts = _parts(content.template, limits or Limits(), text_from_html)
    except TemplateSyntaxError as exc:
        return _failure(
            ReasonKind.TEMPLATE, f"template {content.template.template_id}, line {exc.lineno}: {exc.message}"
        )
    except Exception as exc:  # noqa: BLE001 - the template is foreign code: whatever it does to the parser
        return _failure(ReasonKind.TEMPLATE, f"template {content.template.template_id}: {_said(exc)}")
    plain = all(part.whole is None for part in parts)
    return Compiled(plain, subject.pattern, text_part.pattern, html.pattern, parts, content.data)


def variables_for(
    compiled: Compiled, message: Message, ours: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, str] | RenderFailure:
    """The values of all slots of a plain content for one recipient. Data of the sender goes over ``ours``."""
    if not compiled.parts:
        return {}
    data = _data_of(compiled, message, ours)
    variables: dict[str, str] = {}
    try:
        for part in compiled.parts:
            for hole in part.holes:
                variables[hole.name] = _value(part, hole, data)
    except Exception as exc:  # noqa: BLE001 - see compile_content
        return _failure(ReasonKind.RENDERING, _said(exc))
    return variables


def render_one(
    compiled: Compiled, message: Message, ours: Mapping[str, Any] = MappingProxyType({})
) -> Rendered | RenderFailure:
    """All parts finished for one recipient, plain or not. Data of the sender goes over ``ours``."""
    if not compiled.parts:
        return Rendered(compiled.subject, compiled.text, compiled.html)
    data = _data_of(compiled, message, ours)
    try:
        subject, text, html = (_finished(part, data) for part in compiled.parts)
    except Exception as exc:  # noqa: BLE001 - see compile_content
        return _failure(ReasonKind.RENDERING, _said(exc))
    if compiled.parts[1].derived:
        text = text_of(without_marks(html))
    return Rendered(_literal(subject), _literal(text), _literal(html))


class Renderer:
    """Compiled contents by content hash, the most recently used ones; failures are remembered too.

    At most so many, and of so many characters together; a single larger one is kept as long as it is the last.
    """

    def __init__(
        self,
        max_entries: int = 256,
        limits: Limits | None = None,
        *,
        text_from_html: bool = True,
        max_chars: int = 16_000_000,
    ) -> None:
        self._max_entries = max_entries
        self._max_chars = max_chars
        self._chars = 0
        self._text_from_html = text_from_html
        self._limits = limits or Limits()
        self._cached: OrderedDict[str, tuple[Compiled | RenderFailure, int]] = OrderedDict()

    def compiled(self, content: Content, content_hash: str) -> Compiled | RenderFailure:
        """The compiled content; ``content_hash`` must be its hash."""
        kept = self._cached.get(content_hash)
        if kept is not None:
            self._cached.move_to_end(content_hash)
            return kept[0]
        found = compile_content(content, self._limits, text_from_html=self._text_from_html)
        chars = _chars(content)
        self._cached[content_hash] = found, chars
        self._chars += chars
        while len(self._cached) > self._max_entries or (self._chars > self._max_chars and len(self._cached) > 1):
            self._chars -= self._cached.popitem(last=False)[1][1]
        return found


def _chars(content: Content) -> int:
    """Of what is kept of a content once it is compiled."""
    template = content.template
    sources = (content, template) if template is not None else (content,)
    return sum(len(one.subject) + len(one.text) + len(one.html) for one in sources)


# ---------------------------------------------------------------------------------------- compiling


def _parts(template: Template, limits: Limits, text_from_html: bool) -> tuple[Part, Part, Part]:
    plain_text = MailEnvironment(html=False, limits=limits)
    html = _part(template.html, "h", MailEnvironment(html=True, limits=limits), html=True)
    derive = text_from_html and template.html and not template.text
    text = _text_part(template.html, html, plain_text) if derive else _part(template.text, "t", plain_text)
    return _part(template.subject, "s", plain_text, one_line=True), text, html


def _text_part(source: str, html: Part, environment: MailEnvironment) -> Part:
    """The text of an HTML part, with a hole wherever the page shows one."""
    if html.whole is not None:
        return Part((), (), None, environment, html=False, one_line=False, derived=True)
    page, holes = _plain(environment.parse(without_marks(source)), "t", environment, from_html=True)
    names = list(dict.fromkeys(part.name for part in page if isinstance(part, Slot)))
    marked = "".join(p if isinstance(p, str) else f"{OPEN}{names.index(p.name)}{CLOSE}" for p in page)
    pieces = _hole_mark.split(text_of(marked))
    pattern = tuple(Slot(names[int(p)]) if at % 2 else p for at, p in enumerate(pieces) if p)
    shown = {part.name for part in pattern if isinstance(part, Slot)}
    return Part(
        pattern, tuple(hole for hole in holes if hole.name in shown), None, environment, html=False, one_line=False
    )


def _part(
    source: str, family: str, environment: MailEnvironment, *, html: bool = False, one_line: bool = False
) -> Part:
    tree = environment.parse(source)
    if all(isinstance(node, nodes.Output) for node in tree.body):
        pattern, holes = _plain(tree, family, environment)
        return Part(pattern, holes, None, environment, html, one_line)
    return Part((), (), environment.from_string(source), environment, html, one_line)


def _plain(
    tree: nodes.Template, family: str, environment: MailEnvironment, *, from_html: bool = False
) -> tuple[Pattern, tuple[_Hole, ...]]:
    pattern: list[str | Slot] = []
    holes: dict[str, _Hole] = {}
    for output in tree.body:
        assert isinstance(output, nodes.Output)
        for node in output.nodes:
            if isinstance(node, nodes.TemplateData):
                pattern.append(node.data)
                continue
            path = _path(node)
            key = repr(path) if path else f"#{len(holes)}"
            if key not in holes:
                expression = None if path else _compiled(node, environment)
                markup = from_html and _is_safe(node)
                holes[key] = _Hole(_slot_name(family, path, holes), path, expression, markup)
            pattern.append(Slot(holes[key].name))
    return tuple(pattern), tuple(holes.values())


def _path(node: nodes.Expr) -> tuple[str | int, ...]:
    """``name``, ``name.key`` and ``name["key"]`` as a path; empty for every other expression."""
    if isinstance(node, nodes.Name):
        return (node.name,)
    if isinstance(node, nodes.Getattr):
        inner = _path(node.node)
        return (*inner, node.attr) if inner else ()
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, (str, int)):
        inner = _path(node.node)
        return (*inner, node.arg.value) if inner else ()
    return ()


def _slot_name(family: str, path: tuple[str | int, ...], holes: Mapping[str, _Hole]) -> str:
    name = f"{family}_" + re.sub(r"[^A-Za-z0-9_]", "_", "_".join(map(str, path)) or "x")[:40]
    taken = {hole.name for hole in holes.values()}
    return name if name not in taken else f"{name}_{len(taken)}"


def _is_safe(node: nodes.Expr) -> bool:
    """Whether the template says that a value is HTML."""
    return any(
        found.name == "safe" for found in (node, *node.find_all(nodes.Filter)) if isinstance(found, nodes.Filter)
    )


def _compiled(node: nodes.Expr, environment: MailEnvironment) -> JinjaTemplate:
    tree = nodes.Template([nodes.Output([node], lineno=node.lineno)], lineno=1)
    tree.set_environment(environment)
    return JinjaTemplate.from_code(environment, environment.compile(tree), environment.make_globals(None))


# ---------------------------------------------------------------------------------------- rendering


def _data_of(compiled: Compiled, message: Message, ours: Mapping[str, Any]) -> dict[str, Any]:
    """The request's data under the recipient's own; ``recipient`` unless the sender uses that name."""
    recipient = {"email": message.recipient.email, "name": message.recipient.name}
    for part in compiled.parts:
        part.environment.begin()
    return {"recipient": recipient, **ours, **compiled.data, **message.data}


def _finished(part: Part, data: Mapping[str, Any]) -> str:
    if part.whole is not None:
        text = part.environment.gathered(part.whole.generate(data))
        return _on_one_line(text) if part.one_line else text
    values = {hole.name: _value(part, hole, data) for hole in part.holes}
    return part.environment.gathered(p if isinstance(p, str) else values[p.name] for p in part.pattern)


def _value(part: Part, hole: _Hole, data: Mapping[str, Any]) -> str:
    if hole.expression is not None:
        text = part.environment.gathered(hole.expression.generate(data))
    else:
        value = _looked_up(hole.path, data)
        text = value if type(value) is str else "" if value is None else str(value)
        if part.html:
            text = str(escape(text))
    if hole.markup:
        text = text_of(without_marks(text)).strip()
    return _on_one_line(text) if part.one_line else text


def _looked_up(path: tuple[str | int, ...], data: Mapping[str, Any]) -> Any:
    value: Any = data
    for depth, step in enumerate(path):
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            raise UndefinedError(f"{'.'.join(map(str, path[: depth + 1]))!r} is undefined") from None
    return value


_hole_mark = re.compile(f"{OPEN}([0-9]+){CLOSE}")
_line_ends = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def _on_one_line(text: str) -> str:
    """A subject is one header line, whatever the data holds (RFC 5322 §2.2)."""
    text = nothing_hidden(text)
    return text if text.isascii() and text.isprintable() else _line_ends.sub(" ", text).strip()


def _literal(text: str) -> Pattern:
    return (text,) if text else ()


def _failure(kind: ReasonKind, detail: str) -> RenderFailure:
    return RenderFailure(Reason(kind, detail=detail[:300]))


def _said(exc: Exception) -> str:
    return f"{exc}" if isinstance(exc, UndefinedError) else f"{type(exc).__name__}: {exc}"
