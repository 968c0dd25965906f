"""Drives the original's Python client through all of its methods, against a running manager.

The manager is empty and its address and credentials come by environment. Each answer is compared
with the contract: the status, and the keys and values of the body that clients rely on. Further
keys are allowed, missing ones are not. At the end no public method of the client may be left
uncalled, whatever a later version of it brings.
"""

import inspect
import os

import requests
from NebulaPythonSDK import Nebula

CALLED = set()

APP_DEFAULTS = {
    "starting_ports": [],
    "containers_per": {"server": 1},
    "env_vars": {},
    "running": True,
    "networks": ["nebula", "bridge"],
    "volumes": [],
    "devices": [],
    "privileged": False,
    "rolling_restart": False,
}
CRON_JOB_DEFAULTS = {
    "env_vars": {},
    "running": True,
    "networks": ["nebula", "bridge"],
    "volumes": [],
    "devices": [],
    "privileged": False,
}
USER_GROUP_DEFAULTS = {
    "group_members": [],
    "pruning_allowed": False,
    "apps": {},
    "device_groups": {},
    "cron_jobs": {},
    "admin": False,
}
FORBIDDEN = {"access_allowed": False}
NOTHING_GIVEN = {"missing_parameters": True}


def public_methods():
    return {name for name, _ in inspect.getmembers(Nebula, inspect.isfunction) if not name.startswith("_")}


class Client:
    """The original's client, which notes what was called and compares what came back."""

    def __init__(self, **credentials):
        # Longer than any answer takes, shorter than the patience of the test around this program.
        self.nebula = Nebula(host_uri=os.environ["NEBULA_URL"], request_timeout=30, **credentials)

    def __getattr__(self, name):
        method = getattr(self.nebula, name)

        def call(*arguments, to, **keywords):
            """Calls the method; `to` is the status it must answer, or status and part of the body."""
            CALLED.add(name)
            status, body = to if isinstance(to, tuple) else (to, {})
            said = f"{name}{arguments}{keywords or ''}"
            answer = method(*arguments, **keywords)
            assert answer["status_code"] == status, f"{said}: expected {status}, got {answer}"
            reply = answer["reply"]
            assert isinstance(reply, dict), f"{said}: {reply!r} is no object"
            for key, value in body.items():
                assert key in reply, f"{said}: no `{key}` in {reply}"
                same = reply[key] == value and type(reply[key]) is type(value)
                assert same, f"{said}: expected `{key}` to be {value!r}, got {reply[key]!r}"
            return reply

        return call


def status(admin):
    admin.check_api(to=(200, {"api_available": True}))


def apps(admin):
    admin.list_apps(to=(200, {"apps": []}))
    admin.list_app_info("web", to=(403, {"app_exists": False}))
    admin.create_app("web", {}, to=(400, {"missing_parameters": ["docker_image"]}))
    created = {"app_id": 1, "app_name": "web", "docker_image": "nginx:1", **APP_DEFAULTS}
    admin.create_app("web", {"docker_image": "nginx:1"}, to=(200, created))
    admin.create_app("web", {"docker_image": "nginx:1"}, to=(403, {"app_exists": True}))
    admin.list_app_info("web", to=(200, created))
    full = {
        "docker_image": "registry.example:5000/shop/lb:2",
        "starting_ports": [80, {"443": "8443"}],
        "containers_per": {"cpu": 0.5},
        "env_vars": {"A": "1", "B": "x=y"},
        "running": False,
        "networks": ["nebula", "bridge"],
        "volumes": ["/data:/data:rw", "named:/named"],
        "devices": ["/dev/snd:/dev/snd:rwm"],
        "privileged": True,
        "rolling_restart": True,
    }
    admin.create_app("lb", full, to=(200, {"app_id": 1, "app_name": "lb", **full}))
    assert sorted(admin.list_apps(to=200)["apps"]) == ["lb", "web"]

    refused = {"docker_image": "nginx:1", "starting_ports": [70000]}
    admin.create_app("bad", refused, to=(400, {"starting_ports": "invalid port"}))
    refused["starting_ports"] = ["http"]
    form = "can only be a list containing integers or dicts"
    admin.create_app("bad", refused, to=(403, {"starting_ports": form}))
    assert "docker_imag" in admin.create_app("bad", {"docker_image": "nginx:1", "docker_imag": "x"}, to=400)
    admin.list_app_info("bad", to=(403, {"app_exists": False}))

    changed = {**created, "app_id": 2, "env_vars": {"A": "1"}}
    admin.update_app("web", {"env_vars": {"A": "1"}}, to=(202, changed))
    admin.update_app("web", {}, to=(400, NOTHING_GIVEN))
    admin.update_app("none", {"running": True}, to=(403, {"app_exists": False}))
    # What a client read, it may send back.
    read = admin.list_app_info("web", to=(200, changed))
    admin.update_app("web", {**read, "docker_image": "nginx:2"}, to=(202, {**changed, "app_id": 3, "docker_image": "nginx:2"}))
    # All of it: what is not given goes back to its default, and the variables to an empty list.
    replaced = {**created, "app_id": 4, "docker_image": "nginx:3", "env_vars": []}
    admin.update_app("web", {"docker_image": "nginx:3"}, force_all=True, to=(202, replaced))
    admin.update_app("web", {"running": True}, force_all=True, to=(400, {"missing_parameters": ["docker_image"]}))
    admin.update_app("none", {"docker_image": "nginx:3"}, force_all=True, to=(403, {"app_exists": False}))

    admin.restart_app("web", to=(202, {**replaced, "app_id": 5}))
    admin.stop_app("web", to=(202, {**replaced, "app_id": 6, "running": False}))
    admin.restart_app("web", to=(403, {"running_before_restart": False}))
    admin.start_app("web", to=(202, {**replaced, "app_id": 7, "running": True}))
    for method in (admin.start_app, admin.stop_app, admin.restart_app, admin.delete_app):
        method("none", to=(403, {"app_exists": False}))


def cron_jobs(admin):
    admin.list_cron_jobs(to=(200, {"cron_jobs": []}))
    admin.list_cron_job_info("report", to=(403, {"cron_job_exists": False}))
    missing = admin.create_cron_job("report", {}, to=400)["missing_parameters"]
    assert sorted(missing) == ["docker_image", "schedule"], missing
    admin.create_cron_job("report", {"schedule": "0 * * * *"}, to=(400, {"missing_parameters": ["docker_image"]}))
    wrong = {"docker_image": "busybox:1", "schedule": "sometimes"}
    admin.create_cron_job("report", wrong, to=(400, {"schedule_valid": False}))
    given = {"docker_image": "busybox:1", "schedule": "0 * * * *"}
    created = {"cron_job_id": 1, "cron_job_name": "report", **given, **CRON_JOB_DEFAULTS}
    admin.create_cron_job("report", given, to=(200, created))
    admin.create_cron_job("report", given, to=(403, {"cron_job_exists": True}))
    admin.list_cron_job_info("report", to=(200, created))
    admin.list_cron_jobs(to=(200, {"cron_jobs": ["report"]}))

    changed = {**created, "cron_job_id": 2, "schedule": "*/5 8-18 * jan,jul mon-fri", "env_vars": {"A": "1"}}
    update = {key: changed[key] for key in ("schedule", "env_vars")}
    admin.update_cron_job("report", update, to=(202, changed))
    admin.update_cron_job("report", {}, to=(400, NOTHING_GIVEN))
    admin.update_cron_job("report", {"schedule": "60 * * * *"}, to=(400, {"schedule_valid": False}))
    admin.update_cron_job("none", {"running": False}, to=(403, {"cron_job_exists": False}))
    replaced = {**created, "cron_job_id": 3, "docker_image": "busybox:2"}
    # An empty object or an empty list: clients take both for "none".
    del replaced["env_vars"]
    replacement = {"docker_image": "busybox:2", "schedule": "0 * * * *"}
    reply = admin.update_cron_job("report", replacement, force_all=True, to=(202, replaced))
    assert not reply["env_vars"], reply
    admin.update_cron_job("report", {"docker_image": "busybox:2"}, force_all=True, to=(400, NOTHING_GIVEN))
    admin.delete_cron_job("none", to=(403, {"cron_job_exists": False}))


def device_groups(admin):
    admin.list_device_groups(to=(200, {"device_groups": []}))
    for method in (admin.list_device_group, admin.list_device_group_info, admin.delete_device_group):
        method("site", to=(403, {"device_group_exists": False}))
    admin.create_device_group("site", {"apps": ["none"]}, to=(403, {"app_exists": False}))
    admin.create_device_group("site", {"cron_jobs": ["none"]}, to=(403, {"cron_job_exists": False}))
    admin.create_device_group("site", {"apps": "web"}, to=(400, {"apps_is_list": False}))
    admin.create_device_group("site", {"cron_jobs": "report"}, to=(400, {"cron_jobs_is_list": False}))
    created = {"device_group": "site", "device_group_id": 1, "prune_id": 1, "apps": ["web"], "cron_jobs": []}
    admin.create_device_group("site", {"apps": ["web"]}, to=(200, created))
    admin.create_device_group("site", {"apps": ["web"]}, to=(403, {"device_group_exists": True}))
    admin.create_device_group("empty", {}, to=(200, {"apps": [], "cron_jobs": []}))
    admin.list_device_group("site", to=(200, created))
    assert sorted(admin.list_device_groups(to=200)["device_groups"]) == ["empty", "site"]

    changed = {**created, "device_group_id": 2, "cron_jobs": ["report"]}
    admin.update_device_group("site", {"cron_jobs": ["report"]}, to=(202, changed))
    admin.update_device_group("site", {"apps": ["web", "lb"]}, to=(202, {**changed, "device_group_id": 3, "apps": ["web", "lb"]}))
    admin.update_device_group("site", {}, to=(400, NOTHING_GIVEN))
    admin.update_device_group("site", {"apps": ["none"]}, to=(403, {"app_exists": False}))
    admin.update_device_group("none", {"apps": []}, to=(403, {"device_group_exists": False}))

    admin.prune__device_group_images("site", to=(202, {"device_group": "site", "device_group_id": 3, "prune_id": 2}))
    admin.prune__device_group_images("none", to=(403, {"app_exists": False}))
    admin.prune_images(to=(202, {"prune_ids": {"empty": 2, "site": 3}}))

    info = admin.list_device_group_info("site", to=(200, {
        "apps_list": ["web", "lb"], "cron_jobs_list": ["report"], "prune_id": 3, "device_group_id": 3,
    }))
    web, report = admin.list_app_info("web", to=200), admin.list_cron_job_info("report", to=200)
    assert {**info["apps"][0], **web} == info["apps"][0], (web, info)
    assert {**info["cron_jobs"][0], **report} == info["cron_jobs"][0], (report, info)
    assert [app["app_name"] for app in info["apps"]] == ["web", "lb"], info
    assert [job["cron_job_name"] for job in info["cron_jobs"]] == ["report"], info


def reports(admin):
    nothing = {"data": None, "last_id": None}
    admin.list_reports(hostname="nobody", to=(200, nothing))
    # The client gives a filter also without a time, and booleans with a capital.
    for updated in (True, False):
        admin.list_reports(
            page_size=2,
            hostname="speaker-1",
            device_group="site",
            report_creation_time_filter="lte",
            report_creation_time=1_700_000_000,
            last_id="5f0000000000000000000000",
            updated=updated,
            to=(200, nothing),
        )
    sent = [
        {
            "hostname": "speaker-1",
            "device_group": "site",
            "report_creation_time": 1_700_000_000 + number,
            "updated": number % 2 == 0,
            "report_id": f"{number:024x}",
        }
        for number in range(1, 6)
    ]
    credentials = (os.environ["NEBULA_USERNAME"], os.environ["NEBULA_PASSWORD"])
    url = f"{os.environ['NEBULA_URL']}/api/v2/reports"
    answer = requests.post(url, json={"reports": sent}, auth=credentials, timeout=30)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 5, "refused": []}), answer.text
    # Page by page, as people do it with this client.
    kept, last = [], None
    while True:
        reply = admin.nebula.list_reports(page_size=2, last_id=last)["reply"]
        if reply["data"] is None:
            break
        kept += reply["data"]
        last = reply["last_id"]["$oid"]
    assert [report["_id"]["$oid"] for report in kept] == [report["report_id"] for report in sent], kept
    assert all({**report, **given} == report for report, given in zip(kept, sent)), kept
    assert all(isinstance(report["report_insert_date"]["$date"], int) for report in kept), kept
    reply = admin.list_reports(hostname="speaker-1", device_group="site", updated=True, to=200)
    assert [report["_id"]["$oid"] for report in reply["data"]] == [f"{number:024x}" for number in (2, 4)], reply


def users(admin):
    """Creates the user whom the last part of this program is; returns the password and the token."""
    admin.list_users(to=(200, {"users": []}))
    admin.list_user("operator", to=(403, {"user_exists": False}))
    password, token = "pass:word of an operator", "a-token-of-an-operator"
    created = admin.create_user("operator", {"password": password, "token": token}, to=(200, {"user_name": "operator"}))
    for secret in ("password", "token"):
        assert created[secret].startswith("$2b$12$"), created
    assert not created.get("generated"), created
    admin.create_user("operator", {"password": password}, to=(403, {"user_exists": True}))
    admin.list_user("operator", to=(200, {key: created[key] for key in ("user_name", "password", "token")}))

    # Nothing given: both are made up, and shown in clear this once.
    generated = admin.create_user("guest", {}, to=200)["generated"]
    assert set(generated) == {"password", "token"} and all(generated.values()), generated
    shown = admin.list_user("guest", to=200)
    assert "generated" not in shown and generated["token"] not in str(shown), shown
    assert sorted(admin.list_users(to=200)["users"]) == ["guest", "operator"]
    for credentials in ({"username": "guest", "password": generated["password"]}, {"token": generated["token"]}):
        Client(**credentials).check_api(to=(200, {"api_available": True}))

    changed = admin.update_user("guest", {"password": "another one"}, to=(200, {"user_name": "guest"}))
    assert changed["token"] == shown["token"] and changed["password"] != shown["password"], changed
    Client(username="guest", password=generated["password"]).check_api(to=401)
    Client(username="guest", password="another one").check_api(to=200)
    admin.update_user("guest", {}, to=(400, NOTHING_GIVEN))
    admin.update_user("none", {"password": "x"}, to=(403, {"user_name": False}))

    fresh = admin.refresh_user_token("guest", to=200)["token"]
    Client(token=generated["token"]).check_api(to=401)
    Client(token=fresh).check_api(to=200)
    admin.refresh_user_token("none", to=(403, {"user_name": False}))

    admin.delete_user("guest", to=200)
    Client(token=fresh).check_api(to=401)
    admin.delete_user("guest", to=(403, {"user_exists": False}))
    return password, token


def user_groups(admin):
    admin.list_user_groups(to=(200, {"user_groups": []}))
    admin.list_user_group("operators", to=(403, {"user_group_exists": False}))
    admin.create_user_group("empty", {}, to=(200, USER_GROUP_DEFAULTS))
    given = {
        "group_members": ["operator"],
        "apps": {"web": "rw", "lb": "ro"},
        "device_groups": {"site": "ro"},
        "cron_jobs": {"report": "ro"},
    }
    created = {**USER_GROUP_DEFAULTS, **given}
    admin.create_user_group("operators", given, to=(200, created))
    admin.create_user_group("operators", given, to=(403, {"user_group_exists": True}))
    admin.list_user_group("operators", to=(200, created))
    assert sorted(admin.list_user_groups(to=200)["user_groups"]) == ["empty", "operators"]
    admin.update_user_group("empty", {"pruning_allowed": True}, to=(200, {**USER_GROUP_DEFAULTS, "pruning_allowed": True}))
    admin.update_user_group("empty", {}, to=(400, NOTHING_GIVEN))
    admin.update_user_group("none", {"admin": False}, to=(403, {"user_group_exists": False}))
    admin.delete_user_group("empty", to=200)
    admin.delete_user_group("empty", to=(403, {"user_group_exists": False}))


def as_the_user(admin, user):
    """What a stored user may and may not, whichever way it logs in."""
    user.check_api(to=200)
    assert sorted(user.list_apps(to=200)["apps"]) == ["lb", "web"]
    admin.create_app("hidden", {"docker_image": "nginx:1"}, to=200)
    assert "hidden" not in user.list_apps(to=200)["apps"]
    user.list_app_info("hidden", to=(403, FORBIDDEN))
    user.restart_app("web", to=202)
    user.list_app_info("lb", to=200)
    user.update_app("lb", {"running": True}, to=(403, FORBIDDEN))
    user.list_device_group_info("site", to=200)
    user.update_device_group("site", {"apps": []}, to=(403, FORBIDDEN))
    user.delete_cron_job("report", to=(403, FORBIDDEN))
    user.prune_images(to=(403, FORBIDDEN))
    user.list_users(to=(200, {"users": []}))
    user.list_user_groups(to=(200, {"user_groups": []}))
    user.list_user("operator", to=(403, FORBIDDEN))
    user.list_user_group("operators", to=(403, FORBIDDEN))
    user.create_user("other", {}, to=(403, FORBIDDEN))
    # A right that is given counts from the next request on, and one that is taken does not.
    admin.update_user_group("operators", {"pruning_allowed": True}, to=200)
    user.prune_images(to=202)
    admin.update_user_group("operators", {"pruning_allowed": False}, to=200)
    user.prune_images(to=(403, FORBIDDEN))
    admin.delete_app("hidden", to=200)


def clean_up(admin):
    admin.delete_device_group("site", to=200)
    admin.delete_device_group("empty", to=200)
    admin.delete_cron_job("report", to=200)
    for app in ("web", "lb"):
        admin.delete_app(app, to=200)
    admin.delete_user_group("operators", to=200)
    admin.delete_user("operator", to=200)
    for method in ("apps", "cron_jobs", "device_groups", "users", "user_groups"):
        getattr(admin, f"list_{method}")(to=(200, {method: []}))


def main():
    by_password = Client(username=os.environ["NEBULA_USERNAME"], password=os.environ["NEBULA_PASSWORD"])
    by_token = Client(token=os.environ["NEBULA_TOKEN"])
    for wrong in ({}, {"username": os.environ["NEBULA_USERNAME"], "password": "wrong"}, {"token": "wrong"}):
        Client(**wrong).list_apps(to=401)
    for admin in (by_password, by_token):
        status(admin)
        apps(admin)
        cron_jobs(admin)
        device_groups(admin)
        reports(admin)
        password, token = users(admin)
        user_groups(admin)
        as_the_user(admin, Client(username="operator", password=password))
        as_the_user(admin, Client(token=token))
        clean_up(admin)
        Client(token=token).list_apps(to=401)
    left_out = sorted(public_methods() - CALLED)
    assert not left_out, f"never called: {', '.join(left_out)}"
    print(f"{len(CALLED)} methods called")


if __name__ == "__main__":
    main()
