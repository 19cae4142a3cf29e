"""Templates of somebody who wants the worker's memory, its time, or what lies beside the data.

Run as a program it renders the attacks named as arguments, with little memory, and prints one JSON line each.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from streams.content.render import RenderFailure, compile_content, render_one
from streams.core.message import Content, Mailbox, Message, Stream, Template

_BIG = '{% set x = "x" * 1900000 %}'
_PAIR = '{% set x = "a" * 1000000 ~ "b" %}{% set y = "a" * 1000000 ~ "c" %}'
_NS = "{% set n = namespace(l=[]) %}"
_DOUBLED = (
    '{% set n = namespace(d=["x"]) %}{% for i in range(60) %}{% set n.d = [n.d, n.d] %}{% endfor %}'  # 2^60 elements
)

MEMORY = {
    "a list of one text many times, shown": _BIG + "{{ [x] * 90000 }}",
    "the same through the filter string": _BIG + "{{ ([x] * 90000)|string|length }}",
    "the same beside a text": _BIG + '{{ ("" ~ ([x] * 90000))|length }}',
    "the same as JSON": _BIG + "{{ ([x] * 90000)|tojson|length }}",
    "the same in a dict": _BIG + "{{ dict(a=[x] * 90000) }}",
    "the same in a namespace": '{% set n = namespace(x="a" * 1900000) %}{{ [n] * 90000 }}',
    "a list in a list in a list": "{% set x = [0] * 90000 %}{% set y = [x] * 90000 %}{{ [y] * 90000 }}",
    "a long glue": _BIG + "{{ range(99999)|join(x)|length }}",
    "a wide indent": '{% set x = "\\n" * 1900000 %}{{ x|indent(10000, blank=true)|length }}',
    "a long line end": _BIG + '{{ ("a " * 9000)|wordwrap(1, wrapstring=x)|length }}',
    "replacing each by many": _BIG + '{{ ("a" * 1900000)|replace("a", x)|length }}',
    "replacing nothing by many": _BIG + '{{ ("a" * 1900000)|replace("", x)|length }}',
    "a format by name": '{{ "%(a)99999999s" % {"a": 1} }}',
    "a format by name in brackets": '{{ "%((a))99999999s" % {"(a)": 1} }}',
    "a format filter by name": '{{ "%(a)99999999s"|format(a=1) }}',
    "a format with a star": '{{ "%*d" % (99999999, 1) }}',
    "a format with precision": '{{ "%.99999999f" % 1.5 }}',
    "many formats": '{{ ("%s" * 9000) % (("x" * 1000,) * 9000) }}',
    "one name many times": '{{ ("%(a)s" * 4000) % {"a": "x" * 100000} }}',
    "str.format": '{{ "{:>99999999}".format(1)|length }}',
    "str.format as an entry": '{{ "{:>99999999}"["format"](1)|length }}',
    "a set block that doubles": "{% set x %}0123456789{% endset %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 40,
    "blocks that call each other twice": "".join(
        f"{{% block b{i} %}}{{{{ self.b{i + 1}() }}}}{{{{ self.b{i + 1}() }}}}{{% endblock %}}" for i in range(40)
    )
    + "{% block b40 %}xxxxxxxxxx{% endblock %}",
    "calls in calls": "{% macro m() %}{{ caller() }}{{ caller() }}{% endmacro %}"
    + "{% call m() %}" * 30
    + "x" * 99
    + "{% endcall %}" * 30,
    "a macro that writes without end": "{% macro m() %}{% for i in range(99990) %}"
    + "A" * 90000
    + "{% endfor %}{% endmacro %}{{ m()|length }}",
    "texts kept in a namespace": _NS + '{% for i in range(9999) %}{% set n.l = n.l + ["a" * 900000 ~ i] %}{% endfor %}',
    "slices kept in a namespace": _BIG + _NS + "{% for i in range(9999) %}{% set n.l = n.l + [x[i:]] %}{% endfor %}",
    "words kept in a namespace": '{% set x = "a " * 90000 %}'
    + _NS
    + "{% for i in range(9999) %}{% set n.l = n.l + [x.split()] %}{% endfor %}",
    "copies kept in a namespace": "{% set x = range(99999)|list %}"
    + _NS
    + "{% for i in range(9999) %}{% set n.l = n.l + [x.copy()] %}{% endfor %}",
    "an element twice in itself, shown": _DOUBLED + "{{ n.d }}",
    "sorting texts that must be lowered": '{% set x = "A" * 1900000 %}{{ ([x] * 90000)|sort|length }}',
    "mapping a text many times": _BIG + '{{ ([x] * 90000)|map("upper")|list|length }}',
    "escaping again and again": '{{ ("<" * 1900000)|e|forceescape|forceescape|forceescape|length }}',
    "quoting again and again": '{{ ("<" * 1900000)|urlencode|urlencode|urlencode|length }}',
    "many batches of much": """{{ [1]|batch(10000, "x" * 10000)|list }}""",
    "many slices of much": """{{ [1]|slice(10000, "x" * 10000)|list }}""",
    "a dict of much": """{{ dict.fromkeys(range(99999), "x" * 100000) }}""",
    "a wide number": """{{ "1".zfill(99999999) }}""",
    "a wide line": """{{ "1".ljust(99999999) }}""",
    "wide tabs": """{{ "\\t".expandtabs(99999999) }}""",
    "another alphabet": """{{ "a".translate({97: "x" * 99999}) }}""",
    "a long join": """{{ ("x" * 100000).join(["a"] * 9999) }}""",
    "bytes of a number": """{{ (5).to_bytes(99999999, "big") }}""",
    "a long tuple": "{{ (1,) * 10 ** 9 }}",
    "a text times a number": "{{ 10 ** 9 * 'x' }}",
    "what is only asked for": """{% if "x" * 10 ** 10 %}{% endif %}""",
    "a huge source": "x" * 3_000_000,
}

TIME = {
    "stripping tags": '{{ ("<a>" * 600000)|striptags|length }}',
    "wrapping letter by letter": '{{ ("a" * 1900000)|wordwrap(1)|length }}',
    "making links": '{{ ("http://a.b " * 170000)|urlize|length }}',
    "adding lists": "{{ ([[1] * 5000] * 90000)|sum(start=[])|length }}",
    "dividing long numbers": '{% set x = ("f" * 19000)|int(base=16) %}{{ x // 7 > 1 }}',
    "a long number as it stands": "{% set x = 0x" + "f" * 39000 + " %}{{ x * x > 1 }}",
    "a power of a power": "{{ 9 ** (9 ** 9) }}",
    "a filter of a loop": _PAIR + "{% for i in range(99999) if x in y %}{% endfor %}",
    "looking for a text in texts": _PAIR + "{{ x in [y] * 90000 }}",
    "the same as a test": _PAIR + "{{ x is in([y] * 90000) }}",
    "the same in a filter": _PAIR + '{{ ([x] * 90000)|select("in", [y])|list|length }}',
    "comparing what is doubled": _DOUBLED + "{% set m = n.d %}" + _DOUBLED + "{{ n.d == m }}",
    "finding what is doubled": _DOUBLED + "{{ [1].index(n.d) }}",
    "loops in loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a macro twice in itself": "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}x{% endmacro %}{{ m(40) }}",
    "a macro in itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a loop in itself": "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "a block in itself": "{% block a %}{{ self.a() }}{% endblock %}",
    "many brackets": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "many ifs": "{% if 1 %}" * 900 + "{% endif %}" * 900,
    "many tags": "{{ a }}" * 100_000,
    "tags that never end": "{{" * 400_000,
    "a long list": "{{ [" + "1," * 90_000 + "1]|length }}",
    "a list in itself, shown": """{% set n = namespace(d=[]) %}{% for i in range(90000) %}{% set n.d = [n.d] %}{% endfor %}{{ n.d }}""",
    "a list in itself, as JSON": """{% set n = namespace(d=[]) %}{% for i in range(9000) %}{% set n.d = [n.d] %}{% endfor %}{{ n.d|tojson }}""",
    "a list in itself, compared": """{% set n = namespace(d=[]) %}{% for i in range(40000) %}{% set n.d = [n.d] %}{% endfor %}{% set m = n.d %}{{ m == [m] }}""",
    "a range without end": "{{ range(10 ** 9)|list }}",
    "a range of ranges": "{{ range(0, 10 ** 18, 1)|length }}",
    "a power of fractions": "{{ 2.0 ** 99999 }}",
    "one text of many pluses": "{{ " + " + ".join(["'x' * 900000"] * 30) + " }}",
    "work done while compiling": '{{ "a"|center(9999) }}' * 4000,
}

ESCAPES = {
    "a class": '{{ "".__class__.__mro__ }}',
    "a class by filter": '{{ ""|attr("__class__") }}',
    "subclasses": "{{ ().__class__.__base__.__subclasses__() }}",
    "globals of a helper": "{{ cycler.__init__.__globals__ }}",
    "globals of a macro": "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "the environment": "{{ self._TemplateReference__context.environment }}",
    "the environment by name": "{{ environment }}",
    "a frame": '{{ (range(3)|map("string")).gi_frame }}',
    "a class through a format": '{{ "{0.__class__}".format(1) }}',
    "a class through a template's map": '{{ "{a.__class__}".format_map({"a": 1}) }}',
    "another template": '{% include "/etc/passwd" %}',
    "an import": '{% import "os" as os %}',
    "a parent": '{% extends "/etc/passwd" %}',
    "changing the data": '{{ items.append("x") }}',
    "chance": "{{ [1, 2, 3]|random }}",
    "the address of an object": "{{ joiner }}",
    "a namespace": "{{ namespace(a=1) }}",
    "a class by a name put together": """{{ ""|attr("__cl" ~ "ass__") }}""",
    "a class by a name in hexadecimal": """{{ ""|attr("\\x5f\\x5fclass\\x5f\\x5f") }}""",
    "a class by a name from a format": """{{ ""|attr("%c%cclass%c%c" % (95, 95, 95, 95)) }}""",
    "a class as an entry": """{{ ""["__class__"] }}""",
    "str.format by filter": """{{ "{0.__class__}"|attr("format")(1) }}""",
    "str.format by map": """{{ ["{0.__class__}"]|map("attr", "format")|first }}""",
    "str.format_map by filter": """{{ "{a.__class__}"|attr("format_map")({"a": 1}) }}""",
    "format of safe HTML": """{{ ("{0.__class__}"|safe).format(1) }}""",
    "sorting by a class": """{{ [1, 2]|sort(attribute="__class__.__name__")|list }}""",
    "summing classes": """{{ [1]|sum(attribute="__class__") }}""",
    "joining classes": """{{ [1]|join(attribute="__class__") }}""",
    "the least class": """{{ [1, 2]|min(attribute="__doc__") }}""",
    "selecting by a class": """{{ [1]|selectattr("__class__")|list }}""",
    "unique classes": """{{ [1, "a"]|unique(attribute="__class__")|list }}""",
    "a loop's own": "{% for a in [1] %}{{ loop.__init__.__globals__ }}{% endfor %}",
    "what a loop goes over": "{% for a in [1] %}{{ loop._iterable }}{% endfor %}",
    "a macro's environment": "{% macro m() %}{% endmacro %}{{ m._environment }}",
    "a macro's function": """{% macro m() %}{% endmacro %}{{ m|attr("_func") }}""",
    "a caller's globals": "{% macro m() %}{{ caller.__globals__ }}{% endmacro %}{% call m() %}{% endcall %}",
    "arguments of a macro": "{% macro m() %}{{ varargs.__class__ }}{% endmacro %}{{ m(1) }}",
    "Jinja's own text": """{{ lipsum.__globals__["os"].popen("id").read() }}""",
    "a cycler's function": """{{ cycler("a").next.__func__.__globals__ }}""",
    "what a namespace holds": "{% set n = namespace() %}{{ n._Namespace__attrs }}",
    "the order of classes": "{{ dict.mro() }}",
    "what comes of dict": "{{ dict.__subclasses__() }}",
    "a file without complaint": """{% include ["/etc/passwd"] ignore missing %}""",
    "a file by what the data says": "{% extends items %}",
    "taking from the data": "{{ items.pop() }}",
    "emptying the data": "{{ items.clear() }}",
    "sorting the data": "{{ items.sort() }}",
    "the settings of a web framework": "{{ config }}{{ request }}",
    "a statement": "{% do items.append(1) %}",
    "a debugger": "{% debug %}",
    "a printer": "{{ items|pprint }}",
    "attributes of our own": """{{ {"onload": "x"}|xmlattr }}""",
    "text as it was": """{{ ("&lt;script&gt;"|safe).unescape() }}""",
    "a method that makes bytes": """{{ "a".encode("zip") }}""",
    "a number's class": "{{ (5).real.__class__ }}",
    "itself without end": "{% set n = namespace() %}{% set n.n = n %}{{ n|tojson }}",
}

ATTACKS = MEMORY | TIME | ESCAPES


def attack(source: str) -> tuple[str, float]:
    """What came of it (the reason, or how long the text is), and the seconds of processor time it took."""
    began_s = time.thread_time()
    content = Content(Mailbox("a@example.com"), template=Template("t", "1", "s", source))
    message = Message(
        "m", "t", Stream.BULK, "k", Mailbox("b@example.com"), "h", "f", 1, 1, content, data={"items": ["y"]}
    )
    found = compile_content(content)
    rendered = found if isinstance(found, RenderFailure) else render_one(found, message)
    if isinstance(rendered, RenderFailure):
        said = rendered.reason.detail
    else:
        said = f"rendered {sum(len(str(part)) for part in rendered.text)} characters"
    return said, time.thread_time() - began_s


def main(names: list[str]) -> None:
    """Render the attacks with 1 GiB of address space and tell what came of each."""
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    for name in names:
        said, seconds = attack(ATTACKS[name])
        status = Path("/proc/self/status").read_text()  # ru_maxrss would count what our parent had before exec
        peak_mb = int(status.partition("VmHWM:")[2].split()[0]) // 1024
        sys.stdout.write(json.dumps({"name": name, "said": said, "seconds": seconds, "peak_mb": peak_mb}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:] or list(ATTACKS))
