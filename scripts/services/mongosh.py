"""A stand-in for MongoDB's shell, in the image that stands in for MongoDB's; see `standins`.

    mongosh [--quiet] [--host HOST] --eval 'SCRIPT'

Of SCRIPT it does what stands in `rs.initiate(...)`, with an argument in JSON, unless the server is in a replica set
already, and in `db.createUser(...)`, for the database `admin`.
"""

import json
import re
import sys

from pymongo import MongoClient
from pymongo.errors import OperationFailure

ALREADY_INITIALIZED = 23
NOT_YET_INITIALIZED = 94


def argument(script, call):
    """The JSON between the brackets of a call; none when the script does not call it."""
    found = re.search(re.escape(call) + r"\(", script)
    if found:
        return json.JSONDecoder().raw_decode(script[found.end() :].lstrip())[0]


def main(arguments):
    host = arguments[arguments.index("--host") + 1] if "--host" in arguments else "127.0.0.1"
    script = arguments[arguments.index("--eval") + 1]
    admin = MongoClient(host, directConnection=True, serverSelectionTimeoutMS=5000).admin
    if members := argument(script, "rs.initiate"):
        try:
            admin.command("replSetInitiate", members)
        except OperationFailure as error:
            if error.code != ALREADY_INITIALIZED:
                raise
    if user := argument(script, "db.createUser"):
        admin.command("createUser", user.pop("user"), **user)


if __name__ == "__main__":
    main(sys.argv[1:])
