"""The route table as the other proxies see it: reads the subset of YAML that routes.yaml is written in, makes the table of
1,000 routes, and says which verdict a mode gives to a request. It checks nothing: that is the gateway's own work.
"""

import re
from dataclasses import dataclass

PASS, REFUSE, UNMATCHED = "pass", "refuse", "unmatched"
STATUS = {PASS: 200, REFUSE: 503, UNMATCHED: 404}


@dataclass(frozen=True)
class Route:
    """One operation: how a request is recognised, and the modes that admit it."""

    operation: str
    method: str
    template: str  # with {name} for a segment; empty where a regex was written
    regex: str  # what was written as regex; empty where a template was
    modes: frozenset
    answered: bool  # by the gateway itself: never part of a load

    def is_fixed(self):
        """Whether one path only (and the same with a slash behind it) fits."""
        return bool(self.template) and "{" not in self.template

    def pattern(self, base):
        """The whole path as a regular expression that PCRE, RE2 and Python read alike, tolerant of one trailing slash."""
        if self.regex:
            return f"^{escape(base)}(?:{self.regex})/?$"
        parts = re.split(r"\{[^}]*\}", self.template)
        return "^" + escape(base) + "[^/]+".join(escape(part) for part in parts) + "/?$"

    def sample(self, base, identifier):
        """A path that this route fits; `None` for a regex, whose paths are not guessed."""
        return base + re.sub(r"\{[^}]*\}", lambda _: identifier, self.template) if self.template else None


class Table:
    """All routes in their order; the first that fits wins."""

    def __init__(self, base, routes):
        self.base, self.routes = base, routes
        self.compiled = [(route, re.compile(route.pattern(base))) for route in routes]

    def find(self, method, path):
        """The route that takes a request, or `None`."""
        fits = (route for route, regex in self.compiled if route.method in (method, "ANY") and regex.match(path))
        return next(fits, None)

    def verdict(self, method, path, mode):
        """What a proxy should do with a request."""
        route = self.find(method, path)
        return UNMATCHED if route is None else verdict(route, mode)

    def mix(self, method, wanted):
        """Request lines for the load: `METHOD path` with {} for identifiers, one a route for which `wanted` holds."""
        chosen = [r for r in self.routes if r.method == method and r.template and not r.answered and wanted(r)]
        return [f"{method} {r.sample(self.base, '{}')}" for r in chosen]


def verdict(route, mode):
    """Whether the mode admits the route."""
    return PASS if mode in route.modes else REFUSE


def escape(text):
    """Literal text within a regular expression, without backslashes: those mean something to configuration files too."""
    return "".join(c if c.isalnum() or c in "/-_" else f"[{c}]" for c in text)


def read(text):
    """Reads routes.yaml. A line outside the subset ends the run: a table that is half understood compares nothing."""
    base, classes, entries, section = "", {"server": ["maintenance", "production"]}, [], ""
    classes |= {"schema": ["maintenance"], "profile": ["production"], "service": ["production"]}
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)#.*$", "", raw).rstrip()
        found = re.fullmatch(r"(\s*)(- )?([A-Za-z_]+):(?: +(.*))?", line)
        if line and not found:
            raise SystemExit(f"routes.yaml:{number}: the comparison does not read this kind of line: {raw.strip()}")
        if not line:
            continue
        indent, dash, key, value = found[1], found[2], found[3], scalar(found[4] or "")
        if not indent and not dash:
            section = key
            base = value if key == "base_path" else base
        elif section == "classes":
            classes[key] = value
        elif section == "routes":
            if dash:
                entries.append({})
            entries[-1][key] = value
    return Table(base, [route(entry, classes) for entry in entries])


def scalar(text):
    """A plain or quoted scalar, or a flow list of plain scalars."""
    text = text.strip()
    if text.startswith("["):
        return [item.strip() for item in text.strip("[]").split(",")]
    return text[1:-1] if text[:1] in ("'", '"') else text


def route(entry, classes):
    modes = frozenset(entry.get("modes") or classes[entry["class"]])
    template, regex = entry.get("path", ""), entry.get("regex", "")
    return Route(entry["operation"], entry["method"], template, regex, modes, "answer" in entry)


# Shapes like those of UCS: few first segments, an identifier early, the telling literal behind it.
SHAPES = [
    ("profile", "/profiles/{{customer_id}}/record{n:03}/{{record_id}}"),
    ("service", "/services/{{service_id}}/step{n:03}/{{step_id}}"),
    ("profile", "/customers/{{customer_id}}/view{n:03}"),
    ("service", "/interactions/{{interaction_id}}/part{n:03}"),
    ("schema", "/metadata/kinds{n:03}/extensions/{{extension_name}}"),
]
METHODS = ["GET", "GET", "POST", "GET", "PUT", "GET", "DELETE"]


def grow(text, size):
    """The shipped table, with made-up operations behind it until there are `size` routes; as text of routes.yaml."""
    lines = [text.rstrip("\n")]
    for n in range(size - len(read(text).routes)):
        kind, shape = SHAPES[n % len(SHAPES)]
        lines.append(f"  - operation: Generated {n:03}\n    method: {METHODS[n % len(METHODS)]}")
        lines.append(f"    path: {shape.format(n=n)}\n    class: {kind}")
    return "\n".join(lines) + "\n"
