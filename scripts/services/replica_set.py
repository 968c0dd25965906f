"""What the program `mongod` beside this file has MongoDB's client do.

    initiate FOLDER NAME SECONDS HOST...   makes a replica set of fresh members, and waits until one
                                           is the primary and all others are secondaries
    wait FOLDER SECONDS INDEX...           waits until each of these members is one or the other
    user FOLDER NAME SECONDS               makes the user NAME with the password in FOLDER/password
    primary SECONDS URL                    prints the index of the primary in the URL's list

The first three speak with each member through its own socket in FOLDER, which no cut of the network
concerns, and at which the first user may be made. `primary` sees what a client sees.
"""

import sys
import time
from pathlib import Path
from urllib.parse import quote

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

# Tests wait for elections. Shorter ones begin by themselves on a busy machine.
ELECTION_TIMEOUT_MS = 2000
HEARTBEAT_INTERVAL_MS = 200
# How long a member that is paused or cut off is waited for, before it is asked again.
ANSWER_TIMEOUT_MS = 1000


def member(folder, index):
    """A client of this one member, whatever state it is in."""
    socket = quote(str(Path(folder) / str(index) / "mongodb-27017.sock"), safe="")
    return MongoClient(f"mongodb://{socket}/?directConnection=true", serverSelectionTimeoutMS=ANSWER_TIMEOUT_MS)


def until(seconds, what, look):
    """Looks until there is something."""
    deadline = time.monotonic() + float(seconds)
    last = None
    while time.monotonic() < deadline:
        try:
            if seen := look():
                return seen
        except PyMongoError as error:
            last = error
        time.sleep(0.02)
    sys.exit(f"error: after {seconds} s {what} ({last or 'no error'})")


def is_ready(client):
    hello = client.admin.command("hello")
    return hello["isWritablePrimary"] or hello.get("secondary", False)


def initiate(folder, name, seconds, *hosts):
    members = [{"_id": index, "host": host} for index, host in enumerate(hosts)]
    settings = {"electionTimeoutMillis": ELECTION_TIMEOUT_MS, "heartbeatIntervalMillis": HEARTBEAT_INTERVAL_MS}
    clients = [member(folder, index) for index in range(len(hosts))]
    first = clients[0]
    first.admin.command("replSetInitiate", {"_id": name, "members": members, "settings": settings})

    def has_primary():
        if any(one.admin.command("hello")["isWritablePrimary"] for one in clients):
            return True
        try:
            # By itself, the first election waits for its timeout.
            first.admin.command("replSetStepUp", 1)
        except OperationFailure:
            # The others do not vote yet; or access is controlled, and nobody may ask.
            pass
        return False

    until(seconds, f"`{name}` has no primary", has_primary)
    until(seconds, f"not all members of `{name}` are ready", lambda: all(is_ready(one) for one in clients))


def wait(folder, seconds, *indexes):
    for index in indexes:
        client = member(folder, index)
        until(seconds, f"member {index} is neither a primary nor a secondary", lambda: is_ready(client))


def user(folder, name, seconds):
    password = (Path(folder) / "password").read_text().strip()
    members = [member(folder, int(one.name)) for one in Path(folder).iterdir() if one.name.isdecimal()]
    primary = until(
        seconds,
        "there is no primary to make the user at",
        lambda: next((one for one in members if one.admin.command("hello")["isWritablePrimary"]), None),
    )
    # Known to all members, for the next election makes none of them forget it.
    concern = {} if len(members) == 1 else {"writeConcern": {"w": len(members)}}
    primary.admin.command("createUser", name, pwd=password, roles=["root"], **concern)


def primary(seconds, url):
    client = MongoClient(url, connectTimeoutMS=ANSWER_TIMEOUT_MS, serverSelectionTimeoutMS=ANSWER_TIMEOUT_MS, heartbeatFrequencyMS=500)
    hello = until(seconds, "there is no primary", lambda: client.admin.command("hello"))
    me = hello.get("me")
    hosts = url.split("@")[-1].removeprefix("mongodb://").split("/")[0].split(",")
    print(hosts.index(me) if me else 0)


COMMANDS = {"initiate": initiate, "wait": wait, "user": user, "primary": primary}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
