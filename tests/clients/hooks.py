"""What the fuzzer must know of the manager that an OpenAPI document cannot say."""

import json
import os
import re

import requests
import schemathesis

ADMIN = (os.environ["NEBULA_USERNAME"], os.environ["NEBULA_PASSWORD"])

# Pairs of names and values: bytes are counted, and an item's name may come again in another item.
PAIRS = r"`.*` (is given twice|must have at most 8192 bytes .*|is no key: .*)"
# A length of time, which is several numbers.
LENGTH = r"(`[^`]*` is (longer than \d+ s|not a duration .*)|must be at least `1ms`; .*)"

# Rules between fields, and rules that no pattern can hold: the document takes these values and the
# manager does not. Each is the whole of a reason, so that any other reason beside it still counts.
RULES = {
    "starting_ports": r"port \S+ is given twice"
    r"|\d+ containers from port \S+ up reach port \S+, which is given as well"
    r"|\d+ containers from port \S+ up pass port 65535"
    r"|`[^`]*` is no address of a device with a port: .*",
    "volumes": r"two volumes have the target `[^`]*`",
    # A string is split into words; bytes are counted.
    "command": r"(must not be empty; |must not begin with an empty word|ends in a backslash"
    r"|has a . that is not closed|is split into words and run by no shell, |must have at most 1000 words, "
    r"|is longer than 128 KiB).*",
    "entrypoint": r"(must not begin with an empty word|ends in a backslash|has a . that is not closed"
    r"|is split into words and run by no shell, |must have at most 1000 words, |is longer than 128 KiB).*",
    "user": r"an id must be at most 2147483647, .*",
    "working_dir": r"must be an absolute path of at most 4095 bytes, .*",
    "labels": PAIRS + r"|`.*` is Nebula's own, .*",
    # What a unit makes of a number.
    "mem_limit": r"must be (at least `6m`|at most 1024 TB|a number of bytes).*",
    "shm_size": r"must be (more than 0|at most 1024 TB|a number of bytes).*",
    "cpus": r"must be (from 0.01 to 1024|a number, as in 0.5), got \".*\"",
    # Rules between the numbers.
    "ulimits": r"`\w+` must not have a soft limit above the hard one|`nofile` must be at most 2147483584; .*",
    # Long lists, and grammars of their own.
    "cap_add": r"item \d+: `.*` is no capability of Linux: .*",
    "cap_drop": r"item \d+: `.*` is no capability of Linux: .*",
    "security_opt": r"item \d+: (`seccomp` must be |`.*` must be one of |must have at most 64 KiB).*",
    "tmpfs": r"(item \d+: )?`.*` must be an absolute path other than `/`|`.*` is given twice"
    r"|a volume has the target `.*` as well",
    "sysctls": PAIRS + r"|`.*` is not a container's to set: .*|`.*` must have a value"
    r"|`.*` is the device's own on the network `host`: .*",
    "extra_hosts": r"(item \d+: )?(`.*` is no host name: .*|`.*` must have an IP address or .*)",
    "dns": r"(item \d+: )?`.*` is no IP address",
    "healthcheck": r"must not have a test and be disabled: .*"
    r"|(`test`: must (be a command, or a list|not begin with an empty word).*|`\w+`: " + LENGTH + r"|; )+",
    "logging": r"`options`: .*",
    "stop_signal": r"must be a signal of Linux, .*",
    "stop_grace_period": LENGTH,
    "update_config": r"(`(delay|monitor)`: " + LENGTH + r"|; )+",
    # The reason that comes with it says what is wrong with the schedule.
    "schedule_valid": r"False",
    "schedule": r".*",
    # The list of time zones is long as well.
    "timezone": r"`.*` is no time zone: .*",
    # Which versions of an app are kept.
    "app_id": r"\d+ is (the present version|not among the last 50 versions, .*)|no kept version differs .*",
    # Bytes are counted, and a pattern counts characters.
    # A version of no app.
    "version": r"is the id of an app: give `app` as well",
    # A hash is text like any other; the fuzzer takes those that it was shown and sends them back.
    "password": r"must be at most 72 bytes, .*|is a hash, .*",
    "token": r"is a hash, .*|must be `nebula_device_`, .*",
    # Bytes are counted, and of characters only those that are no control characters count.
    "hostname": r"must be at most 255 bytes, .*|must not contain control characters",
    # An object of an import, which the model reads and the document describes elsewhere.
    "objects": r"item \d+: .*",
    # What is a letter is a long list.
    "user_name": r"must be at most 128 bytes, .*|must hold only letters, digits, .*",
    "user_group": r"must be at most 128 bytes, .*|must hold only letters, digits, .*",
}

POSITIVE = "Positive test case"
# The token by which the fuzzer enrolls devices, once there is one.
ENROLLMENT = []
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
    # It takes no body, whatever stands in a path is a text, and an admin may shut out a device by its
    # name alone.
    if failure.title == "Schema-violating request accepted" and case.path == "/api/v2/devices/{name}/revoke":
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
    name = (case.path_parameters or {}).get("name")
    if case.path == "/api/v2/devices/{name}" and isinstance(name, str):
        # Nobody declares a device: it is there once it has reported.
        report = {"hostname": name, "device_group": "fuzz", "report_creation_time": 1_700_000_000}
        reports = f"{os.environ['NEBULA_URL']}/api/v2/reports"
        requests.post(reports, json={"reports": [report]}, auth=ADMIN, timeout=15)
    # The one operation for which an admin's credentials are good for nothing.
    if case.path == "/api/v2/enroll" and "Authorization" in (case.headers or {}):
        if not ENROLLMENT:
            url = f"{os.environ['NEBULA_URL']}/api/v2/device_groups/fuzz"
            requests.post(url, auth=ADMIN, timeout=15)
            made = requests.post(f"{url}/enroll", json={"devices": 1000}, auth=ADMIN, timeout=15)
            ENROLLMENT.append(made.json()["enrollment_token"])
        case.headers["Authorization"] = f"Bearer {ENROLLMENT[0]}"
    is_create = case.method.upper() == "POST" and case.path.endswith("/{name}")
    if is_create and case.meta and case.meta.phase.name.value == "coverage":
        requests.delete(f"{os.environ['NEBULA_URL']}{case.formatted_path}", auth=ADMIN, timeout=15)
