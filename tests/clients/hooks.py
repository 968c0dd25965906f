"""What the fuzzer must know of the manager that an OpenAPI document cannot say."""

import json
import os
import re

import requests
import schemathesis

ADMIN = (os.environ["NEBULA_USERNAME"], os.environ["NEBULA_PASSWORD"])

# Rules between fields, and rules that no pattern can hold: the document takes these values and the
# manager does not. Each is the whole of a reason, so that any other reason beside it still counts.
RULES = {
    "starting_ports": r"port \d+ is given twice"
    r"|\d+ containers from port \d+ up reach port \d+, which is given as well"
    r"|\d+ containers from port \d+ up pass port 65535",
    "volumes": r"two volumes have the target `[^`]*`",
    # The reason that comes with it says what is wrong with the schedule.
    "schedule_valid": r"False",
    "schedule": r".*",
    # The list of time zones is long as well.
    "timezone": r"`.*` is no time zone: .*",
    # Bytes are counted, and a pattern counts characters.
    # A hash is text like any other; the fuzzer takes those that it was shown and sends them back.
    "password": r"must be at most 72 bytes, .*|is a hash, .*",
    "token": r"is a hash, .*",
    # What is a letter is a long list.
    "user_name": r"must be at most 128 bytes, .*|must hold only letters, digits, .*",
    "user_group": r"must be at most 128 bytes, .*|must hold only letters, digits, .*",
}

POSITIVE = "Positive test case"
USER_READ_ONLY = ("_id", "user_name", "token_id", "generated", "uid", "revision")


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Lets a request that the document takes be refused by one of the rules above. Drops a false
    alarm as well: where a body is optional, the fuzzer sometimes replaces all that was wrong with a
    request by what is right, forgets that it did, and says that it "violates" the schema as a
    "positive test case"."""
    data = case.meta and case.meta.phase.data
    if failure.title == "Schema-violating request accepted" and getattr(data, "description", None) == POSITIVE:
        return False
    if failure.title != "Schema-valid request rejected" or response.status_code != 400:
        return True
    reasons = json.loads(response.content).items()
    return not all(re.fullmatch(RULES.get(field, r"(?!)"), str(reason), re.DOTALL) for field, reason in reasons)


@schemathesis.check
def not_throttled(ctx, response, case):
    """An API that lets nobody in has no faults to find."""
    assert response.status_code != 429, "the fuzzer is throttled: most of what follows tests nothing"


@schemathesis.hook
def filter_case(context, case):
    """Leaves out most of what changes nothing and costs two bcrypt hashes: the read-only keys of a
    user with a value of every type. One type is enough here, and other objects get all of them."""
    if not case.path.startswith("/api/v2/users/") or not isinstance(case.body, dict):
        return True
    return all(value is None for key, value in case.body.items() if key in USER_READ_ONLY)


@schemathesis.hook
def map_case(context, case):
    """Writes whole numbers without a fraction: JSON Schema takes `80.0` for the integer 80, the
    manager does not, and no client writes it."""
    case.body = whole(case.body)
    return case


def whole(value):
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    # Beyond 2^53 a float stands for many whole numbers.
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


@schemathesis.hook
def before_call(context, case, kwargs):
    """Makes room for what is to be created. The phase `coverage` tries each odd body under one and
    the same name, and from the second one on would only learn that the object is there already."""
    is_create = case.method.upper() == "POST" and case.path.endswith("/{name}")
    if is_create and case.meta and case.meta.phase.name.value == "coverage":
        requests.delete(f"{os.environ['NEBULA_URL']}{case.formatted_path}", auth=ADMIN, timeout=15)
