//! The schemas of the optional keys: those of a container, and how an app is updated.
//!
//! A bound stands here only when it is exactly the model's, as in [`super::schemas`]. What an answer
//! leaves out when it is not set, a body may unset with `null`.

use crate::model::{
    CAPABILITIES, MAX_ARGUMENTS, MAX_BYTES, MAX_CPUS, MAX_DNS_SERVERS, MAX_EXTRA_HOSTS,
    MAX_HOSTNAME_LENGTH, MAX_LABELS, MAX_LIMIT, MAX_LOG_OPTIONS, MAX_PATH_BYTES, MAX_PIDS,
    MAX_REPLICAS, MAX_RETRIES, MAX_SECURITY_OPTIONS, MAX_SYSCTLS, MAX_TMPFS, MAX_USER_LENGTH,
    MIN_CPUS, MIN_MEMORY_BYTES, ULIMITS,
};
use serde_json::{Value, json};

const BYTES: &str = "^[0-9]+(\\.[0-9]+)? ?([bB]|[kKmMgGtTpP][iI]?[bB]?)?$";
const DURATION: &str = "^(0|(([0-9]+\\.?[0-9]*|\\.[0-9]+)(h|m|s|ms|us))+)$";
const NO_NUL: &str = "^[^\\x00]*$";
/// `on-failure:N` ends at last, which the runs of a cron job must.
const ENDS: &str = "no|on-failure:0*([1-9][0-9]{0,2}|1000)";

/// The optional keys of an app.
pub(super) fn of_an_app() -> Vec<(&'static str, Value)> {
    let restart = format!("^({ENDS}|on-failure|always|unless-stopped)$");
    let about = "When Docker starts a replica again; unless-stopped when it is not set.";
    let mut keys = of_a_container(pattern(&restart, about));
    keys.push(("update_config", or_null(&update_config())));
    keys
}

/// The optional keys of a cron job's containers.
pub(super) fn of_a_cron_job() -> Vec<(&'static str, Value)> {
    let about = "How often Docker starts a run again that failed; no when it is not set.";
    of_a_container(pattern(&format!("^({ENDS})$"), about))
}

fn of_a_container(restart: Value) -> Vec<(&'static str, Value)> {
    let [host, networks] = [hosts(), addresses()];
    let switch = || json!({ "type": "boolean" });
    let keys = [
        ("command", words(1, "In place of the image's command; a string is split into words.")),
        ("entrypoint", words(0, "In place of the image's entrypoint; empty is none.")),
        (
            "user",
            with(
                pattern("^[!-9;-~]+(:[!-9;-~]+)?$", "USER or USER:GROUP."),
                "maxLength",
                MAX_USER_LENGTH,
            ),
        ),
        (
            "working_dir",
            with(
                pattern("^/[^\\x00-\\x1f\\x7f-\\x9f]*$", "An absolute path."),
                "maxLength",
                MAX_PATH_BYTES,
            ),
        ),
        (
            "labels",
            pairs(
                MAX_LABELS,
                "Labels beside Nebula's own, which are orchestrator, app_name, \
            container_type, cron_job_name and all that begin with `nebula.`.",
            ),
        ),
        ("hostname", with(pattern(&host_name(), "A host name."), "maxLength", MAX_HOSTNAME_LENGTH)),
        ("mem_limit", bytes(MIN_MEMORY_BYTES, "The most memory, at least 6m.")),
        ("cpus", cpus()),
        (
            "pids_limit",
            json!({ "anyOf": [
            { "const": -1 }, { "type": "integer", "minimum": 1, "maximum": MAX_PIDS },
        ], "description": "The most processes; -1 is no limit." }),
        ),
        ("ulimits", ulimits()),
        ("cap_add", capabilities()),
        ("cap_drop", capabilities()),
        ("security_opt", security()),
        ("read_only", switch()),
        ("tmpfs", tmpfs()),
        ("init", switch()),
        (
            "sysctls",
            pairs(
                MAX_SYSCTLS,
                "Those of a container's own namespaces: net.*, fs.mqueue.* and \
            the kernel.* of System V IPC.",
            ),
        ),
        ("extra_hosts", host),
        ("dns", networks),
        ("healthcheck", health_check()),
        ("logging", logging()),
        (
            "stop_signal",
            json!({ "type": "string", "description": "A signal of Linux, as in SIGTERM, \
            SIGRTMIN+3 or 15.", "examples": ["SIGQUIT", "SIGRTMIN+3", "15"] }),
        ),
        ("stop_grace_period", duration("At most 1h; 10s when it is not set.")),
        ("shm_size", bytes(1, "The size of /dev/shm; 64m when it is not set.")),
        ("restart", restart),
    ];
    keys.into_iter().map(|(key, schema)| (key, or_null(&schema))).collect()
}

fn or_null(schema: &Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

fn with(mut schema: Value, key: &str, value: impl Into<Value>) -> Value {
    schema[key] = value.into();
    schema
}

fn pattern(pattern: &str, about: &str) -> Value {
    json!({ "type": "string", "pattern": pattern, "description": about })
}

fn words(least: usize, about: &str) -> Value {
    let word = json!({ "type": "string", "pattern": NO_NUL });
    let list =
        json!({ "type": "array", "minItems": least, "maxItems": MAX_ARGUMENTS, "items": word });
    let text = json!({ "type": "string", "pattern": NO_NUL, "minLength": least });
    json!({ "anyOf": [list, text], "description": about, "examples": ["serve --port 80"] })
}

fn pairs(most: usize, about: &str) -> Value {
    let value = json!({ "type": ["string", "number", "boolean", "null"], "pattern": NO_NUL });
    let object = json!({
        "type": "object",
        "maxProperties": most,
        "propertyNames": { "pattern": "^[^=\\x00]+$" },
        "additionalProperties": value,
    });
    let item = json!({ "type": "string", "pattern": "^[^=\\x00]+(=[^\\x00]*)?$" });
    let list = json!({ "type": "array", "maxItems": most, "items": item });
    json!({ "anyOf": [object, list], "description": about })
}

fn bytes(least: u64, about: &str) -> Value {
    let number = json!({ "type": "integer", "minimum": least, "maximum": MAX_BYTES });
    let text = json!({ "type": "string", "pattern": BYTES });
    json!({ "anyOf": [number, text], "description": about, "examples": ["512m", "1gb", 536_870_912] })
}

fn cpus() -> Value {
    let number = json!({ "type": "number", "minimum": MIN_CPUS, "maximum": MAX_CPUS });
    let text = json!({ "type": "string", "pattern": "^([0-9]+\\.?[0-9]*|\\.[0-9]+)$" });
    let about = "The most processors' time; a device that has fewer gives all of them.";
    json!({ "anyOf": [number, text], "description": about, "examples": [0.5, "1.5"] })
}

fn ulimits() -> Value {
    let number = json!({ "type": "integer", "minimum": -1, "maximum": MAX_LIMIT });
    let both = json!({
        "type": "object",
        "required": ["soft", "hard"],
        "additionalProperties": false,
        "properties": { "soft": number, "hard": number },
    });
    json!({
        "type": "object",
        "propertyNames": { "enum": ULIMITS },
        "additionalProperties": { "anyOf": [number, both] },
        "description": "-1 is no limit; no soft limit is above its hard one.",
    })
}

fn capabilities() -> Value {
    let item = json!({ "anyOf": [
        { "enum": CAPABILITIES.as_slice() }, { "type": "string", "pattern": "^[A-Za-z_]+$" },
    ] });
    json!({
        "type": "array",
        "maxItems": CAPABILITIES.len(),
        "items": item,
        "description": "Capabilities of Linux, with or without CAP_, in any case.",
    })
}

fn security() -> Value {
    let usual = [
        "no-new-privileges",
        "no-new-privileges=false",
        "apparmor=unconfined",
        "seccomp=unconfined",
        "label=disable",
    ];
    let item = json!({ "anyOf": [{ "enum": usual }, {
        "type": "string",
        "pattern": "^(no-new-privileges|apparmor|seccomp|label)[=:][^\\x00]+$",
    }] });
    json!({
        "type": "array",
        "maxItems": MAX_SECURITY_OPTIONS,
        "items": item,
        "description": "A seccomp profile is the JSON itself, for no device has the file.",
    })
}

fn tmpfs() -> Value {
    let option = "(ro|rw|(no)?suid|(no)?dev|(no)?exec|a?sync|dirsync|(no)?atime|(no)?diratime|\
        strictatime|size=[0-9]{1,15}[kKmMgG%]?|(nr_inodes|nr_blocks)=[0-9]{1,15}[kKmMgG]?|\
        mode=[0-7]{1,4}|(uid|gid)=[0-9]{1,9})";
    let one = format!("^/[^:\\x00-\\x1f\\x7f-\\x9f]*(:({option}(,{option})*)?)?$");
    let one = json!({ "type": "string", "pattern": one });
    let list = json!({ "type": "array", "maxItems": MAX_TMPFS, "items": one });
    json!({ "anyOf": [one, list], "examples": ["/run", ["/tmp:size=64m,mode=1777"]] })
}

fn host_name() -> String {
    let part = "[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?";
    format!("^{part}(\\.{part})*$")
}

fn hosts() -> Value {
    let item = json!({ "type": "string", "pattern": "^[A-Za-z0-9.-]+[=:][A-Za-z0-9:.\\[\\]-]+$" });
    let list = json!({ "type": "array", "maxItems": MAX_EXTRA_HOSTS, "items": item });
    let object = json!({
        "type": "object",
        "maxProperties": MAX_EXTRA_HOSTS,
        "additionalProperties": { "type": "string" },
    });
    json!({ "anyOf": [list, object], "examples": [["db=10.0.0.5", "me=host-gateway"]] })
}

fn addresses() -> Value {
    let one = || json!({ "type": "string", "examples": ["10.0.0.1", "fd00::1"] });
    let list = json!({ "type": "array", "maxItems": MAX_DNS_SERVERS, "items": one() });
    json!({ "anyOf": [list, one()], "description": "IP addresses of name servers." })
}

fn duration(about: &str) -> Value {
    with(pattern(DURATION, about), "maxLength", 100)
}

fn health_check() -> Value {
    let words = json!({ "type": "array", "minItems": 1, "maxItems": MAX_ARGUMENTS,
        "items": { "type": "string", "pattern": NO_NUL } });
    let test = json!({ "anyOf": [{ "type": "string", "pattern": NO_NUL, "minLength": 1 }, words],
        "description": "A command, or a list that begins with NONE, CMD or CMD-SHELL." });
    let day = || duration("At most 24h.");
    json!({
        "type": "object",
        "minProperties": 1,
        "additionalProperties": false,
        "properties": {
            "test": test,
            "interval": day(),
            "timeout": day(),
            "retries": { "type": "integer", "minimum": 1, "maximum": MAX_RETRIES },
            "start_period": day(),
            "start_interval": day(),
            "disable": { "type": "boolean" },
        },
        "description": "What is not given is the image's. start_interval needs Docker 25.",
    })
}

fn logging() -> Value {
    let driver =
        pattern("^[A-Za-z0-9][A-Za-z0-9_./:-]*$", "A log driver; json-file when not given.");
    let about = "Of json-file, max-size is 10m and max-file is 3 where they are not given.";
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "driver": with(driver, "maxLength", 255),
            "options": pairs(MAX_LOG_OPTIONS, about),
        },
    })
}

fn update_config() -> Value {
    let word = |words: &[&str]| {
        let words: Vec<Option<&str>> = words.iter().copied().map(Some).chain([None]).collect();
        json!({ "enum": words })
    };
    let parallelism = json!({ "type": ["integer", "null"], "minimum": 0, "maximum": MAX_REPLICAS });
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "parallelism": parallelism,
            "delay": or_null(&duration("At most 24h.")),
            "monitor": or_null(&duration("At most 24h.")),
            "order": word(&["stop-first", "start-first"]),
            "failure_action": word(&["pause", "continue", "rollback"]),
        },
    })
}
