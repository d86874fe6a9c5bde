"""What schemathesis cannot know of this interface from its document."""

from __future__ import annotations

import json
import os
import re
import urllib.parse

import requests
import schemathesis
from schemathesis import GenerationMode

from service import signature

HOOKS = ("/api/hook/", "/api/mandrill/hook/")
FORM = "application/x-www-form-urlencoded"
FIELD = "mandrill_events"
FILTER_VALUES_MAX = 255  # all names together, one in the path included


@schemathesis.hook
def map_case(context, case):
    """A form's text that is to be taken has to be JSON: no schema of a form says so to a generator."""
    positive = case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE
    if positive and case.path in HOOKS and case.media_type == FORM and isinstance(case.body, dict):
        text = case.body.get(FIELD)
        if isinstance(text, str) and not is_array(text):
            case.body = {**case.body, FIELD: json.dumps([text, {"event": text}])}
    return case


def is_array(text: str) -> bool:
    try:
        return isinstance(json.loads(text), list)
    except ValueError:
        return False


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """What no schema says, because it is about several parameters: good ones may be too much together, or two
    moments no span of time. Then 400 is right, where it names one of them."""
    query = case.query or {}
    together = sum(len(value) for value in query.values() if isinstance(value, (list, dict)))
    excused = {name for name in query if together > FILTER_VALUES_MAX}
    excused |= {"to"} if {"from", "to"} <= set(query) else set()
    excused |= {"step", "window"} if {"window", "step"} & set(query) else set()
    return not (failure.code == "ST202" and fault(response) in excused)


def fault(response) -> str | None:
    try:
        return response.json().get("parameter") if response.status_code == 400 else None
    except ValueError:
        return None


taken = set()


@schemathesis.hook
def after_call(context, case, response):
    """Writes down, for run.py, each operation that did what it is for: not an OPTIONS in its place."""
    operation = f"{case.method.upper()} {case.path}"
    if 200 <= response.status_code < 300 and operation not in taken:
        taken.add(operation)
        with open(os.environ["TAKEN"], "a") as file:
            print(operation, file=file)


if os.environ.get("SIGNED"):

    @schemathesis.hook
    def before_call(context, case, kwargs):
        """Signs a batch as Mandrill does."""
        if case.path not in HOOKS or case.method != "POST":
            return
        case.headers = {**(case.headers or {}), "X-Mandrill-Signature": signature(fields_of(case))}


def fields_of(case) -> list[tuple[str, str]]:
    sent = requests.Request(**case.as_transport_kwargs(base_url="http://localhost")).prepare()
    body = sent.body or b""
    text = body.decode("utf-8", "surrogateescape") if isinstance(body, bytes) else body
    if case.media_type == FORM:
        return urllib.parse.parse_qsl(text, keep_blank_values=True, errors="surrogateescape")
    raw = raw_member(text)
    return [(FIELD, raw)] if raw else []


def raw_member(text: str) -> str | None:
    """The field's value in a JSON object, as it stands there: that is what is signed."""
    decode, mark, at = json.JSONDecoder().raw_decode, re.compile(r"\s*[{:,]?\s*"), 0
    try:
        while True:
            name, at = decode(text, mark.match(text, at).end())
            start = mark.match(text, at).end()
            _, at = decode(text, start)
            if name == FIELD:
                return text[start:at]
    except ValueError:
        return None
