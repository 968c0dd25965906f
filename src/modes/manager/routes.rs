//! Every operation: its path, what it needs, who answers, and its description.

use super::auth::Permission;
use super::metrics::INFO_ROUTE;
use super::objects::{Resource, delete, list, show};
use super::openapi::{self, flag, names, query, schema};
use super::operation::{Operation, Verb};
use super::reply::Refusal;
use super::{
    Shared, apps, backup, cron_jobs, device_groups, devices, enrollment, health, reports, status,
    transfer, user_groups, users, wait,
};
use crate::model::Access::{Read, Write};
use crate::model::{App, CronJob, DeviceGroup, Granted, User, UserGroup};
use crate::monitoring::METRICS_MEDIA;
use Permission::{Admin, Any, Found, Prune, To};
use Verb::{Delete, Get, Patch, Post, Put};
use axum::Router;
use axum::routing::MethodRouter;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Paths that need no credentials.
const OPEN: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// Where devices bring their reports.
pub(super) const REPORTS_ROUTE: &str = "/api/v2/reports";

/// The route that answered, for metrics; it travels as an extension.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route(pub(super) &'static str);

/// True for a path that everybody may ask for.
pub(super) fn is_open(path: &str) -> bool {
    OPEN.contains(&path)
}

/// The whole table.
pub(super) fn router(manager: Arc<Shared>) -> Router {
    let operations: Vec<Operation> = [
        general(),
        report_operations(),
        device_operations(),
        app_operations(),
        cron_job_operations(),
        device_group_operations(),
        user_operations(),
        user_group_operations(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let description = openapi::document(&operations);
    let mut paths: BTreeMap<&'static str, MethodRouter<Arc<Shared>>> = BTreeMap::new();
    for operation in operations {
        let path = operation.path;
        let methods = paths.remove(path).unwrap_or_default().merge(operation.route(&manager));
        paths.insert(path, methods);
    }
    let table =
        paths.into_iter().fold(Router::new(), |table, (path, methods)| table.route(path, methods));
    table
        .layer(axum::Extension(openapi::Document::new(&description)))
        .fallback(async || Refusal::UnknownPath)
        .method_not_allowed_fallback(async || Refusal::WrongMethod)
        .with_state(manager)
}

fn general() -> Vec<Operation> {
    let yes_or_no = |key: &str| json!({ "type": "object", "required": [key], "properties": { key: { "type": "boolean" } } });
    vec![
        Operation::open("alive", (Get, "/healthz"), health::alive)
            .says("Whether the process serves.")
            .answers(200, yes_or_no("alive")),
        Operation::open("ready", (Get, "/readyz"), health::ready)
            .says("Whether the store is in reach.")
            .answers(200, yes_or_no("ready"))
            .answers(503, yes_or_no("ready")),
        Operation::open("metrics", (Get, "/metrics"), health::metrics)
            .says("What the manager has counted, for Prometheus.")
            .media(METRICS_MEDIA)
            .answers(200, json!({ "type": "string" })),
        Operation::new("describe", (Get, openapi::PATH), Any, openapi::show)
            .says("This description.")
            .answers(200, json!({ "type": "object", "required": ["openapi", "paths"] })),
        Operation::new("status", (Get, "/api/v2/status"), Any, health::status)
            .says("Whether the API takes these credentials.")
            .answers(200, flag("api_available", true)),
        Operation::new("backup", (Get, "/api/v2/backup"), Admin, backup::download)
            .says("A consistent copy of the embedded store, while the manager runs.")
            .media("application/octet-stream")
            .answers(200, json!({ "type": "string", "format": "binary" })),
        Operation::new("export", (Get, "/api/v2/export"), Admin, transfer::export)
            .says("Everything that is declared, at one moment, as JSON lines; hashes and env values are in it.")
            .media(transfer::LINES_MEDIA)
            .answers(200, json!({ "type": "string" })),
        Operation::new("import", (Post, "/api/v2/import"), Admin, transfer::import)
            .says("Takes objects over from another store, with their uids: all of a batch or none.")
            .takes(schema("Import"))
            .answers(200, schema("Imported"))
            .refuses(400, schema("Invalid"))
            .refuses(409, schema("Error")),
        Operation::new("prune", (Post, "/api/v2/prune"), Prune, device_groups::prune_all)
            .says("Orders every device of every group to remove unused images.")
            .answers(202, schema("PruneIds")),
    ]
}

fn report_operations() -> Vec<Operation> {
    let list = Operation::new("list_reports", (Get, REPORTS_ROUTE), Any, reports::list)
        .says("The devices' reports, a page at a time.")
        .answers(200, schema("Reports"))
        .refuses(400, schema("Invalid"));
    let list = query::reports().into_iter().fold(list, Operation::parameter);
    let add = Operation::new(
        "add_reports",
        (Post, REPORTS_ROUTE),
        Permission::Report,
        reports::add,
    )
    .says("Keeps what devices say of themselves; a report that is known already changes nothing.")
    .takes(schema("NewReports"))
    .answers(202, schema("AddedReports"))
    .refuses(400, schema("MissingList"))
    .refuses(400, schema("Invalid"));
    vec![list, add]
}

fn device_operations() -> Vec<Operation> {
    let one = "/api/v2/devices/{name}";
    let unknown = || flag(devices::EXISTS, false);
    let list = Operation::new("list_devices", (Get, "/api/v2/devices"), Any, devices::list)
        .says("What is known of each device from its last report, a page at a time.")
        .answers(200, schema("Devices"))
        .refuses(400, schema("Invalid"));
    let list = query::devices().into_iter().fold(list, Operation::parameter);
    let reading = Found("ro on the device's group");
    let show = Operation::new("show_device", (Get, one), reading, devices::show)
        .says("What is known of a device from its last report.")
        .answers(200, schema("Device"))
        .refuses(403, unknown());
    let writing = Found("rw on the device's group");
    let forget = Operation::new("forget_device", (Delete, one), writing, devices::forget)
        .says("Forgets a device, until it is heard of again.")
        .answers(200, schema("Empty"))
        .refuses(403, unknown());
    let revoke = "/api/v2/devices/{name}/revoke";
    let revoke = Operation::new("revoke_device", (Post, revoke), writing, enrollment::revoke)
        .says("Shuts a device out: its own token, and certificates issued until now.")
        .answers(200, schema("RevokedDevice"))
        .refuses(403, unknown())
        .refuses(400, schema("Invalid"));
    let enroll = "/api/v2/enroll";
    let enroll =
        Operation::new("enroll_device", (Post, enroll), Permission::Enroll, enrollment::enroll)
            .says("Exchanges an enrollment token for a token that the device itself has made.")
            .takes(schema("NewDevice"))
            .answers(200, schema("EnrolledDevice"))
            .refuses(400, schema("Invalid"));
    vec![list, show, forget, revoke, enroll]
}

/// List, show and delete, which every kind has.
fn common<T: Resource>(
    ids: [&'static str; 3],
    [all, one]: [&'static str; 2],
    [may_list, may_show, may_delete]: [Permission; 3],
    one_schema: &'static str,
) -> Vec<Operation> {
    let unknown = flag(T::EXISTS, false);
    vec![
        Operation::new(ids[0], (Get, all), may_list, list::<T>)
            .says("The names of all that the user may read.")
            .answers(200, names(T::COLLECTION)),
        Operation::new(ids[1], (Get, one), may_show, show::<T>)
            .says("The object.")
            .answers(200, schema(one_schema))
            .refuses(403, unknown.clone()),
        Operation::new(ids[2], (Delete, one), may_delete, delete::<T>)
            .says("Removes the object.")
            .answers(200, schema("Empty"))
            .refuses(403, unknown),
    ]
}

/// An update of some fields, which has two methods.
fn updates<T: Resource>(
    ids: [&'static str; 2],
    make: impl Fn(&'static str, Verb) -> Operation,
    body: &'static str,
) -> Vec<Operation> {
    let [put, patch] = ids;
    [(put, Put), (patch, Patch)]
        .map(|(id, verb)| {
            make(id, verb)
                .says("Changes the given fields and no other.")
                .takes(schema(body))
                .refuses(400, flag("missing_parameters", true))
                .refuses(400, schema("Invalid"))
                .refuses(403, flag(T::EXISTS, false))
        })
        .into()
}

const READ_APP: Permission = To(Granted::App, Read);
const WRITE_APP: Permission = To(Granted::App, Write);
const READ_JOB: Permission = To(Granted::CronJob, Read);
const WRITE_JOB: Permission = To(Granted::CronJob, Write);
const READ_GROUP: Permission = To(Granted::DeviceGroup, Read);
/// What a device needs to be told what it runs.
pub(super) const CHECK_IN: Permission = Permission::CheckIn;
const WRITE_GROUP: Permission = To(Granted::DeviceGroup, Write);

fn app_operations() -> Vec<Operation> {
    let one = "/api/v2/apps/{name}";
    let update = "/api/v2/apps/{name}/update";
    let unknown = || flag("app_exists", false);
    let form = || schema("PortsForm");
    let app = || schema("App");
    let mut all = common::<App>(
        ["list_apps", "show_app", "delete_app"],
        ["/api/v2/apps", one],
        [Any, READ_APP, WRITE_APP],
        "App",
    );
    all.extend([
        Operation::new("create_app", (Post, one), WRITE_APP, apps::create)
            .says("Creates an app. What is not given has its default.")
            .takes(schema("NewApp"))
            .answers(200, app())
            .refuses(400, schema("MissingList"))
            .refuses(400, schema("Invalid"))
            .refuses(403, flag("app_exists", true))
            .refuses(403, form()),
        Operation::new("replace_app", (Post, update), WRITE_APP, apps::replace)
            .says("Changes an app. What is not given goes back to its default.")
            .takes(schema("NewApp"))
            .answers(202, app())
            .refuses(400, schema("MissingList"))
            .refuses(400, schema("Invalid"))
            .refuses(403, unknown())
            .refuses(403, form()),
        Operation::new("start_app", (Post, "/api/v2/apps/{name}/start"), WRITE_APP, apps::start)
            .says("Runs the app's replicas on every device of its groups.")
            .answers(202, app())
            .refuses(403, unknown()),
        Operation::new("stop_app", (Post, "/api/v2/apps/{name}/stop"), WRITE_APP, apps::stop)
            .says("Stops the app's replicas everywhere.")
            .answers(202, app())
            .refuses(403, unknown()),
        Operation::new(
            "restart_app",
            (Post, "/api/v2/apps/{name}/restart"),
            WRITE_APP,
            apps::restart,
        )
        .says("Pulls the app's image again and replaces its replicas.")
        .answers(202, app())
        .refuses(403, unknown())
        .refuses(403, flag("running_before_restart", false)),
        Operation::new(
            "app_history",
            (Get, "/api/v2/apps/{name}/history"),
            READ_APP,
            apps::history,
        )
        .says("The app's last versions, the newest first, without values of variables.")
        .answers(200, schema("AppHistory"))
        .refuses(403, unknown()),
        Operation::new(
            "rollback_app",
            (Post, "/api/v2/apps/{name}/rollback"),
            WRITE_APP,
            apps::rollback,
        )
        .says("Goes back to an earlier version in all but whether the app runs.")
        .may_take(schema("Rollback"))
        .answers(202, app())
        .refuses(400, schema("Invalid"))
        .refuses(403, unknown()),
    ]);
    all.push(
        Operation::new("app_status", (Get, "/api/v2/apps/{name}/status"), READ_APP, status::of_app)
            .says("How far the devices of the app's groups are with it.")
            .answers(200, schema("AppStatus"))
            .refuses(403, unknown()),
    );
    all.extend(updates::<App>(
        ["update_app", "patch_app"],
        |id, verb| {
            let operation = Operation::new(id, (verb, update), WRITE_APP, apps::update);
            operation.answers(202, schema("App")).refuses(403, schema("PortsForm"))
        },
        "AppChanges",
    ));
    all
}

fn cron_job_operations() -> Vec<Operation> {
    let one = "/api/v2/cron_jobs/{name}";
    let update = "/api/v2/cron_jobs/{name}/update";
    let job = || schema("CronJob");
    let mut all = common::<CronJob>(
        ["list_cron_jobs", "show_cron_job", "delete_cron_job"],
        ["/api/v2/cron_jobs", one],
        [Any, READ_JOB, WRITE_JOB],
        "CronJob",
    );
    all.extend([
        Operation::new("create_cron_job", (Post, one), WRITE_JOB, cron_jobs::create)
            .says("Creates a cron job. What is not given has its default.")
            .takes(schema("NewCronJob"))
            .answers(200, job())
            .refuses(400, schema("MissingList"))
            .refuses(400, schema("InvalidSchedule"))
            .refuses(400, schema("Invalid"))
            .refuses(403, flag("cron_job_exists", true)),
        Operation::new("replace_cron_job", (Post, update), WRITE_JOB, cron_jobs::replace)
            .says("Changes a cron job. What is not given goes back to its default.")
            .takes(schema("NewCronJob"))
            .answers(202, job())
            .refuses(400, flag("missing_parameters", true))
            .refuses(400, schema("InvalidSchedule"))
            .refuses(400, schema("Invalid"))
            .refuses(403, flag("cron_job_exists", false)),
    ]);
    all.extend(updates::<CronJob>(
        ["update_cron_job", "patch_cron_job"],
        |id, verb| {
            let operation = Operation::new(id, (verb, update), WRITE_JOB, cron_jobs::update);
            operation.answers(202, schema("CronJob")).refuses(400, schema("InvalidSchedule"))
        },
        "CronJobChanges",
    ));
    all
}

/// What is wrong with a group's members.
fn refuses_members(operation: Operation) -> Operation {
    operation
        .refuses(400, flag("apps_is_list", false))
        .refuses(400, flag("cron_jobs_is_list", false))
        .refuses(403, flag("app_exists", false))
        .refuses(403, flag("cron_job_exists", false))
}

fn device_group_operations() -> Vec<Operation> {
    let one = "/api/v2/device_groups/{name}";
    let update = "/api/v2/device_groups/{name}/update";
    let prune = "/api/v2/device_groups/{name}/prune";
    let unknown = || flag("device_group_exists", false);
    let group = || schema("DeviceGroup");
    let mut all = common::<DeviceGroup>(
        ["list_device_groups", "show_device_group", "delete_device_group"],
        ["/api/v2/device_groups", one],
        [Any, READ_GROUP, WRITE_GROUP],
        "DeviceGroup",
    );
    let create =
        Operation::new("create_device_group", (Post, one), WRITE_GROUP, device_groups::create)
            .says("Creates a device group.")
            .may_take(schema("DeviceGroupMembers"))
            .answers(200, group())
            .refuses(400, schema("Invalid"))
            .refuses(403, flag("device_group_exists", true));
    let replace =
        Operation::new("replace_device_group", (Post, update), WRITE_GROUP, device_groups::replace)
            .says("Changes a device group. A list that is not given becomes empty.")
            .may_take(schema("DeviceGroupMembers"))
            .answers(202, group())
            .refuses(400, schema("Invalid"));
    let info =
        Operation::new("device_group_info", (Get, INFO_ROUTE), CHECK_IN, wait::info)
            .says("What every device of the group runs; with `wait`, as soon as it is other than If-None-Match.")
            .parameter(query::wait())
            .refuses(400, schema("Invalid"))
            .parameter(query::if_none_match())
            .answers(200, schema("Info"))
            .answers(304, Value::Null)
            .refuses(403, unknown());
    let prune = Operation::new("prune_device_group", (Post, prune), Prune, device_groups::prune)
        .says("Orders every device of the group to remove unused images.")
        .answers(202, group())
        .refuses(403, flag("app_exists", false));
    let status = "/api/v2/device_groups/{name}/status";
    let status =
        Operation::new("device_group_status", (Get, status), READ_GROUP, status::of_device_group)
            .says("How far the devices of the group are with what they are to run.")
            .answers(200, schema("DeviceGroupStatus"))
            .refuses(403, unknown());
    let enroll = "/api/v2/device_groups/{name}/enroll";
    let enroll = Operation::new("make_enrollment", (Post, enroll), WRITE_GROUP, enrollment::make)
        .says("Makes a token by which devices of the group get credentials of their own.")
        .may_take(schema("EnrollmentFields"))
        .answers(200, schema("Enrollment"))
        .refuses(400, schema("Invalid"))
        .refuses(403, unknown());
    all.extend([refuses_members(create), refuses_members(replace), info, prune, status, enroll]);
    all.extend(updates::<DeviceGroup>(
        ["update_device_group", "patch_device_group"],
        |id, verb| {
            let operation = Operation::new(id, (verb, update), WRITE_GROUP, device_groups::update);
            refuses_members(operation.answers(202, schema("DeviceGroup")))
        },
        "DeviceGroupChanges",
    ));
    all
}

fn user_operations() -> Vec<Operation> {
    let one = "/api/v2/users/{name}";
    let update = "/api/v2/users/{name}/update";
    let unknown = || flag("user_name", false);
    let mut all = common::<User>(
        ["list_users", "show_user", "delete_user"],
        ["/api/v2/users", one],
        [Any, Admin, Admin],
        "User",
    );
    all.extend([
        Operation::new("create_user", (Post, one), Admin, users::create)
            .says("Creates a user. A password or token that is not given is made, and shown once.")
            .may_take(schema("NewUser"))
            .answers(200, schema("CreatedUser"))
            .refuses(400, schema("Invalid"))
            .refuses(403, flag("user_exists", true)),
        Operation::new(
            "refresh_user",
            (Post, "/api/v2/users/{name}/refresh"),
            Admin,
            users::refresh,
        )
        .says("Makes a new token, and shows it once. The old one counts no longer.")
        .answers(200, schema("NewToken"))
        .refuses(403, unknown()),
    ]);
    all.extend(updates::<User>(
        ["update_user", "patch_user"],
        |id, verb| {
            let operation = Operation::new(id, (verb, update), Admin, users::update);
            operation.answers(200, schema("User")).refuses(403, flag("user_name", false))
        },
        "UserChanges",
    ));
    all
}

fn user_group_operations() -> Vec<Operation> {
    let one = "/api/v2/user_groups/{name}";
    let update = "/api/v2/user_groups/{name}/update";
    let mut all = common::<UserGroup>(
        ["list_user_groups", "show_user_group", "delete_user_group"],
        ["/api/v2/user_groups", one],
        [Any, Admin, Admin],
        "UserGroup",
    );
    all.push(
        Operation::new("create_user_group", (Post, one), Admin, user_groups::create)
            .says("Creates a user group. What is not given is not permitted.")
            .may_take(schema("UserGroupBody"))
            .answers(200, schema("UserGroup"))
            .refuses(400, schema("Invalid"))
            .refuses(403, flag("user_group_exists", true)),
    );
    all.extend(updates::<UserGroup>(
        ["update_user_group", "patch_user_group"],
        |id, verb| {
            let operation = Operation::new(id, (verb, update), Admin, user_groups::update);
            operation.answers(200, schema("UserGroup"))
        },
        "UserGroupChanges",
    ));
    all
}
