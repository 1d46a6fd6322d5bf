"""The SQL functions refuse the calls that the service refuses."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatch_grpc.schema import Call
from dispatch_grpc.service.lanes import lane_of
from dispatch_grpc.service.urls import host_of, problem_of_call
from tests.producers.conftest import SQL

HOSTS = [
    "example.com",
    "EXAMPLE.com.",
    "a_b-c~d",
    "%41.example",
    "metadata",
    "Metadata.Google.Internal.",
    "metadata.goog",
    "instance-data",
    "127.0.0.1",
    "169.254.169.254",
    "0xa9fea9fe",
    "2852039166",
    "0251.0376.0251.0376",
    "169.254.43518",
    "169.0xfea9fe",
    "169.254.256.1",
    "256.1.1.1",
    "1.2.3.4.5",
    "08.1.1.1",
    "0x",
    "0xg",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.0.193",
    "4294967295",
    "4294967296",
    "1.16777216",
    "1.16777215",
    "..",
    "1..2",
    "[::1]",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "[fd20:ce::254]",
    "[::ffff:169.254.1.1]",
    "[::169.254.1.1]",
    "[64:ff9b::a9fe:101]",
    "[64:ff9b:1:2:3:4:a9fe:101]",
    "[2002:a9fe:101::1]",
    "[2001:0:a9fe:101::]",
    "[2001:0:102:304:0:0:5601:fefe]",
    "[::ffff:1.2.3.4]",
    "[1.2.3.4]",
    "[::g]",
    "[1:2]",
    "[v1.a]",
    "[]",
]
HOSTS.append("")
URLS = st.builds(
    "{}{}{}{}{}{}{}".format,
    st.sampled_from(["http://", "https://", "HTTP://", "bridge://", "ftp://", "//", ""]),
    st.sampled_from(["", "", "", "user@", "user:p%40ss@", "a@b@", "%zz@"]),
    st.sampled_from(HOSTS),
    st.sampled_from(["", "", ":", ":80", ":65535", ":65536", ":x", ":99999999999999999999"]),
    st.sampled_from(["", "", "/", "/a/b", "//", "/a b", "/%41", "/%4", "/é", "/'(x)", "\n", "/\n"]),
    st.sampled_from(["", "", "", "?", "?a=b", "?[", "?a/?"]),
    st.sampled_from(["", "", "", "#", "#f", "##", "# "]),
) | st.sampled_from(["arn:aws:lambda:eu:1:function:f", "arn:aws:s3", "http://h/" + "a" * 2040])
FUNCTIONS = st.sampled_from(["f", "a.b<c>", "_", "1f", "f\n", "", "é", "f" * 1024, "f" * 1025])


@settings(max_examples=600, deadline=None)
@given(url=URLS, function=FUNCTIONS, allow=st.booleans())
def test_endpoints_and_functions_are_checked_as_the_service_does(
    sql: SQL, url: str, function: str, allow: bool
):
    problem = problem_of_call(Call(endpoint=url, function=function), allow_metadata=allow)
    found = sql.value(
        "SELECT coalesce(problem_of_endpoint($1, $2), problem_of_function($3, ''))",
        url, allow, function,
    )  # fmt: skip
    assert (found is None) == (problem is None), (problem, found)
    if problem is None:
        assert sql.value("SELECT lane_of($1, $2)", url, function) == lane_of(host_of(url), function)
    elif found.startswith("function: ") and problem.startswith("function: ") and function != "f\n":
        assert found == problem


@pytest.mark.parametrize("name", ["endpoint", "function", "version"])
def test_null_is_refused_by_its_name(sql: SQL, name: str):
    values: dict[str, Any] = {"endpoint": "http://here", "function": "f", "version": ""}
    values[name] = None
    problem = sql.value(
        "SELECT coalesce(problem_of_endpoint($1, false), problem_of_function($2, $3))",
        *values.values(),
    )
    assert name == "version" or problem.endswith("is required; got NULL")
