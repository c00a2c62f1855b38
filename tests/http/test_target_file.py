"""A target file: what is wrong with one is told in one line, with the file and the key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.http.calls import Answer
from harness.http.login import Logins
from harness.http.target_file import TargetFile
from harness.model import Request, UsageError
from harness.strategy.loader import find_scenario

START = '[operations.start]\nrequest = "POST /u/{key}"\nreplies = {202 = "accepted", 409 = "rejected"}\n'
URL = 'url = "http://127.0.0.1:9"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("url = ", "my.toml: this is no TOML"),
        ("", "my.toml: operations: there is no [operations.NAME]"),
        (URL + "operation = 1", "my.toml: operation: unknown; did you mean operations?"),
        (URL + START.replace("start", "strat"), "my.toml: operations.strat: the scenario has no such operation;"),
        (URL + START.replace("POST /u/{key}", "/u"), "my.toml: operations.start.request: it is a method and a path"),
        (URL + START.replace("{key}", "{kay}"), "my.toml: operations.start.request: nothing fills in {kay}; did you"),
        (URL + START.replace("202", "20"), "my.toml: operations.start.replies.20: a status is a number"),
        (URL + START.replace('"rejected"', "3"), 'my.toml: operations.start.replies.409: a word, 409 = "accepted"'),
        (URL + START + "json = {}\nform = {}", "my.toml: operations.start: one of json, form and body"),
        (URL + START + "json = {at = 2020-01-01}", "my.toml: operations.start.json.at: 2020-01-01 is no JSON"),
        (URL + START + "reply = {}", "my.toml: operations.start.reply: unknown; did you mean replies?"),
        (URL + START + "[given]\narrival_us = -1", "my.toml: given.arrival_us: it is a number above 0"),
        (URL + START + "[http]\nversion = 2", "my.toml: http.version: it is a text, not a int"),
        (URL + START + '[rest]\nrequest = "GET /u/{key}"\nvalue = "x"', "my.toml: rest.value: it is a /pointer"),
        (URL + 'token = "env:NOT_SET_HERE"\n' + START, "my.toml: token: the environment variable NOT_SET_HERE is not"),
        (URL + START + "[login]\nok = 200", "my.toml: login: request is missing"),
        (URL + START + '[login]\nrequest = "POST /in"\nsend = {a = "Bearer"}', "my.toml: login.send.a: it has a"),
        (URL + START.replace("rejected", "rejectd"), "the rule never answers rejectd; did you mean rejected?"),
    ],
)  # fmt: skip
def test_mistakes(race: Callable[..., Any], text: str, says: str) -> None:
    """Each ends with exit 2."""
    Path("my.toml").write_text(text)
    ended = race("run", "double-submit", "--target", "my.toml")
    assert (ended.code, ended.stdout) == (2, "")
    assert says in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--url", "http://192.0.2.1/double-submit/naive"), 2, "192.0.2.1 is not this machine"),
        (("--url", "http://example.com:8000/double-submit/naive"), 2, "add --allow-host example.com to do so"),
        (("--url", "http://127.0.0.1:9/double-submit/naive"), 3, "cannot be reached: connection refused; start it"),
        (("--url", "http://127.0.0.1:9"), 2, "--target my_service.toml"),
        (("--url", "http://me:pass@127.0.0.1:9/double-submit/naive"), 2, "leave the login out of the address"),
        (("--url", "ftp://127.0.0.1"), 2, "--url: this is no such URL"),
        (("--url", ""), 2, "--url is empty"),
        (("--url", "http://127.0.0.1:9/counter/naive"), 2, "--url names counter, not double-submit"),
        (("--target", "missing.toml"), 2, "missing.toml: there is no such file"),
        (("--target", "missing.py"), 2, "missing.py: there is no such script"),
        (("--url", "http://127.0.0.1:9/double-submit/naive", "--strategy", "lua"), 2, "the service is what is tried"),
        (("--url", "http://127.0.0.1:9/double-submit/naive", "--mode", "sustained"), 2, "bursts only"),
        (("--url", "http://127.0.0.1:9/double-submit/naive", "--bursts", "900000"), 2, "more than 1,000,000 requests"),
        (
            ("--url", "https://127.0.0.1:9/double-submit/naive", "--ca-file", "no.pem"),
            2,
            "no.pem: there is no such file",
        ),
    ],
)
def test_refused(race: Callable[..., Any], arguments: tuple[str, ...], code: int, says: str) -> None:
    """What cannot be is told in one line, before anything is sent."""
    ended = race("run", "double-submit", *arguments)
    assert (ended.code, ended.stdout) == (code, "")
    assert says in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "pass@" not in ended.stderr


def test_a_request_is_made_of_its_templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Places are filled in, with the types of what fills them; secrets come from the environment."""
    monkeypatch.setenv("MY_TOKEN", "s3cret")
    path = tmp_path / "my.toml"
    path.write_text(
        'url = "http://127.0.0.1:9"\ntoken = "env:MY_TOKEN"\nheaders = {X-Key = "Api env:MY_TOKEN"}\n'
        '[operations.refund]\nrequest = "POST /pay/{key}?by={attempt}"\n'
        'json = {amount = "{amount}", note = "refund {amount}"}\nvalues = {left = "/left"}\n'
        'replies = {200 = "/decision", 4xx = [{when = {"/code" = 7}, decision = "spent"}, {decision = "refused"}]}\n'
    )
    target = TargetFile(path, "ab12")
    request = Request("refund", ("pay/1-ab12-3",), {"amount": 5}, "0-1", "0-a1")
    call = target.call(request)
    assert call is not None
    assert (call.method, call.path) == ("POST", "/pay/pay%2F1-ab12-3?by=0-a1")
    assert call.body == b'{"amount": 5, "note": "refund 5"}'
    alone = target.call(request._replace(attempt=""))
    assert alone is not None
    assert alone.path.endswith("?by=0-1")  # a request that is no part of an attempt is one by itself
    headers = dict(call.headers)
    assert (headers["authorization"], headers["x-key"]) == ("Bearer s3cret", "Api s3cret")
    assert set(target.secrets()) == {"s3cret"}

    def decided(status: int, body: bytes) -> object:
        reply = target.reply(request, Answer(status, {}, body))
        return reply and (reply.decision, dict(reply.values))

    assert decided(200, b'{"decision": "done", "left": 2}') == ("done", {"left": 2})
    assert decided(409, b'{"code": 7}') == ("spent", {})
    assert decided(404, b"no json") == ("refused", {})
    assert decided(500, b"") is None
    assert decided(200, b"{}") is None


def test_a_missing_operation_is_named(tmp_path: Path) -> None:
    """A flow asks for more than one: skip ends the attempt there."""
    path = tmp_path / "my.toml"
    path.write_text(URL + START)
    operations = find_scenario("double-submit").operations
    with pytest.raises(UsageError, match=r"operations\.finish: is missing"):
        TargetFile(path, "1", operations).call(Request("finish", ("user-1",)))
    path.write_text(URL + START + "[operations.finish]\nskip = true\n")
    assert TargetFile(path, "1", operations).call(Request("finish", ("user-1",))) is None


def test_giving_up_is_a_decision_of_any_rule(race: Callable[..., Any]) -> None:
    """`aborted` looks like `accepted` and is no mistake: the service is asked for next."""
    Path("my.toml").write_text(URL + START.replace('409 = "rejected"', '409 = "rejected", 503 = "aborted"'))
    ended = race("run", "double-submit", "--target", "my.toml")
    assert (ended.code, ended.stdout) == (3, "")
    assert "cannot be reached" in ended.stderr


@pytest.mark.parametrize(
    ("send", "answer", "expected"),
    [
        ("", Answer(200, {}, b"", ("sid=abc; Path=/", "gone=; Max-Age=0", "b=2")), {"cookie": "sid=abc; b=2"}),
        ('send = {Authorization = "Bearer {/data/token}"}', Answer(201, {}, b'{"data": {"token": "xyz"}}'),
         {"authorization": "Bearer xyz"}),
        ("", Answer(200), "my.toml: login: its answer sets no cookie"),
        ('send = {A = "{/token}"}', Answer(200, {}, b'{"tokn": "s3cret"}'), "my.toml: login: its answer has no /token"),
        ('send = {A = "{/token}"}', Answer(200, {}, b'{"token": "a\\nb"}'), "my.toml: login: /token of its answer is"),
        ("", Answer(403, {}, b"s3cret"), "my.toml: login: the login was answered 403"),
    ],
)  # fmt: skip
def test_what_a_login_gives(tmp_path: Path, send: str, answer: Answer, expected: dict[str, str] | str) -> None:
    """Cookies, or fields of its answer in headers; else one line that repeats nothing of it."""
    path = tmp_path / "my.toml"
    path.write_text(f'{URL}{START}[login]\nrequest = "POST /in"\n{send}\n')
    target = TargetFile(path)
    if isinstance(expected, dict):
        assert target.logged_in(answer) == expected
        return
    with pytest.raises(UsageError) as raised:
        target.logged_in(answer)
    assert expected in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_who_logs_in(tmp_path: Path) -> None:
    """Every key where the login says whose it is, else one for all; a cookie of one's own stays."""
    path = tmp_path / "my.toml"
    for who, each in (("{key}", True), ("me", False)):
        path.write_text(
            f'{URL}cookies = {{a = "1"}}\n{START}[login]\nrequest = "POST /in"\njson = {{user = "{who}"}}\n'
        )
        target = TargetFile(path)
        logins = Logins(each=target.login_each)
        assert logins.missing(["u-1", "u-2"]) == (["u-1", "u-2"] if each else [""])
        logins.learn({"u-1" if each else "": {"cookie": "sid=abc"}})
        assert logins.missing(["u-1"]) == []
        call = target.call(Request("start", ("u-1",)))
        assert call is not None
        assert dict(logins.added(call, ["u-1"]).headers)["cookie"] == "a=1; sid=abc"
        assert logins.secrets(["u-1"]) == ["abc"]
        assert logins.secrets(["u-2"]) == ([] if each else ["abc"])
