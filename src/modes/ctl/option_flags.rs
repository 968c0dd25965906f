//! The flags of a container's optional keys: one a key, and one for each part of a health check and
//! of logging.
//!
//! They are built by hand from a table and not derived, so that all of them have one code. What a
//! flag takes is what the model's decoder takes.

use super::flags::of_an_app;
use crate::client::Object;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use serde_json::{Number, Value, json};

/// A flag and the key that it sets.
struct Flag {
    name: &'static str,
    key: &'static str,
    value_name: &'static str,
    heading: &'static str,
    help: &'static str,
    form: Form,
}

/// What becomes of a flag's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Text.
    Text,
    /// A number, where it is one.
    Number,
    /// `true`, also when nothing is given, or `false`.
    Switch,
    /// A list; repeated for more.
    List,
    /// An object of `NAME=VALUE`; repeated for more.
    Pairs,
    /// The same with numbers, `NAME=SOFT[:HARD]`.
    Ulimits,
    /// Text or a number in an object.
    Part(&'static str),
    /// An object of `NAME=VALUE` in an object.
    PartPairs(&'static str),
}

const PROCESS: &str = "Process";
const LIMITS: &str = "Limits";
const SECURITY: &str = "Security and files";
const NETWORK: &str = "Names and network";
const HEALTH: &str = "Health check";
const LOGS: &str = "Logs";
const END: &str = "Stop and restart";

/// Ends a container's health check, its image's as well.
const NO_HEALTH_CHECK: &str = "no-healthcheck";

const fn flag(
    heading: &'static str,
    (name, key, form): (&'static str, &'static str, Form),
    value_name: &'static str,
    help: &'static str,
) -> Flag {
    Flag { name, key, value_name, heading, help, form }
}

#[rustfmt::skip]
const FLAGS: [Flag; 32] = [
    flag(PROCESS, ("command", "command", Form::Text), "COMMAND", "What to run in place of the image's command; words are split as Compose does"),
    flag(PROCESS, ("entrypoint", "entrypoint", Form::Text), "COMMAND", "What the command is handed to, in place of the image's"),
    flag(PROCESS, ("user", "user", Form::Text), "USER[:GROUP]", "The user to run as, by name or id"),
    flag(PROCESS, ("working-dir", "working_dir", Form::Text), "PATH", "The folder to start in"),
    flag(PROCESS, ("init", "init", Form::Switch), "true|false", "Run a small init as the first process, which reaps the others"),
    flag(PROCESS, ("label", "labels", Form::Pairs), "NAME=VALUE", "A label of the containers"),
    flag(LIMITS, ("mem-limit", "mem_limit", Form::Text), "BYTES", "The most memory, as in 512m"),
    flag(LIMITS, ("cpus", "cpus", Form::Number), "NUMBER", "The most processors' time, as in 0.5"),
    flag(LIMITS, ("pids-limit", "pids_limit", Form::Number), "NUMBER", "The most processes; -1 is no limit"),
    flag(LIMITS, ("ulimit", "ulimits", Form::Ulimits), "NAME=SOFT[:HARD]", "A limit of each process, as in nofile=1024:2048"),
    flag(LIMITS, ("shm-size", "shm_size", Form::Text), "BYTES", "The size of /dev/shm, as in 128m"),
    flag(SECURITY, ("cap-add", "cap_add", Form::List), "CAPABILITY", "A capability to give, as in NET_ADMIN"),
    flag(SECURITY, ("cap-drop", "cap_drop", Form::List), "CAPABILITY", "A capability to take, or ALL"),
    flag(SECURITY, ("security-opt", "security_opt", Form::List), "OPTION", "As in no-new-privileges, apparmor=PROFILE"),
    flag(SECURITY, ("read-only", "read_only", Form::Switch), "true|false", "Let nothing write to the container's own file system"),
    flag(SECURITY, ("tmpfs", "tmpfs", Form::List), "PATH[:OPTIONS]", "A file system in memory, as in /tmp:size=64m"),
    flag(SECURITY, ("sysctl", "sysctls", Form::Pairs), "NAME=VALUE", "A setting of the container's kernel, as in net.core.somaxconn=1024"),
    flag(NETWORK, ("hostname", "hostname", Form::Text), "NAME", "The name that a container has for itself"),
    flag(NETWORK, ("extra-host", "extra_hosts", Form::List), "HOST:ADDRESS", "A further line of /etc/hosts"),
    flag(NETWORK, ("dns", "dns", Form::List), "ADDRESS", "A name server, in place of the device's"),
    flag(HEALTH, ("health-cmd", "healthcheck", Form::Part("test")), "COMMAND", "A command for the container's shell that fails when it is unwell"),
    flag(HEALTH, ("health-interval", "healthcheck", Form::Part("interval")), "DURATION", "From one check to the next, as in 1m30s"),
    flag(HEALTH, ("health-timeout", "healthcheck", Form::Part("timeout")), "DURATION", "How long a check may take"),
    flag(HEALTH, ("health-retries", "healthcheck", Form::Part("retries")), "NUMBER", "How many failures in a row make it unhealthy"),
    flag(HEALTH, ("health-start-period", "healthcheck", Form::Part("start_period")), "DURATION", "How long after the start failures do not count"),
    flag(HEALTH, ("health-start-interval", "healthcheck", Form::Part("start_interval")), "DURATION", "From one check to the next in that time; needs Docker 25"),
    flag(HEALTH, (NO_HEALTH_CHECK, "healthcheck", Form::Part("disable")), "", "Check nothing, even if the image says how"),
    flag(LOGS, ("log-driver", "logging", Form::Part("driver")), "DRIVER", "Where the output goes: json-file when nothing is set"),
    flag(LOGS, ("log-opt", "logging", Form::PartPairs("options")), "NAME=VALUE", "An option of it; json-file keeps max-file=3 of max-size=10m if nothing is set"),
    flag(END, ("stop-signal", "stop_signal", Form::Text), "SIGNAL", "The signal that asks to end, as in SIGQUIT"),
    flag(END, ("stop-grace-period", "stop_grace_period", Form::Text), "DURATION", "How long it has for that, at most 1h; 10s when nothing is set"),
    flag(END, ("restart", "restart", Form::Text), "POLICY", "When Docker starts it again: no, on-failure:N, and for apps always, unless-stopped"),
];

/// The optional keys that were given.
#[derive(Debug)]
pub(super) struct OptionFlags(Object);

impl OptionFlags {
    /// Puts them into a body, in place of what it has of the same keys.
    pub(super) fn put(self, body: &mut Object) {
        body.extend(self.0);
    }
}

/// The words that name these keys in a refusal, with the flags that set them.
pub(super) fn options() -> impl Iterator<Item = (String, String)> {
    let is_whole = |flag: &&Flag| !matches!(flag.form, Form::Part(_) | Form::PartPairs(_));
    let flags = FLAGS.iter().filter(is_whole);
    flags.map(|flag| (format!("`{}`", flag.key), format!("--{}", flag.name)))
}

/// The keys whose values are objects that several flags make up.
pub(super) const OBJECTS: [&str; 3] = ["healthcheck", "logging", "update_config"];

/// Puts what is given of an object over what was set of it, so that `--health-interval` alone keeps
/// the command.
pub(super) fn put_over(key: &str, before: &Value, given: &mut Value) {
    let (Value::Object(before), Value::Object(after)) = (before, given) else { return };
    // What belongs to another driver, or to a check that is to end, goes with it.
    if after.contains_key("disable") || (key == "logging" && after.contains_key("driver")) {
        return;
    }
    let mut all = before.clone();
    if after.contains_key("test") {
        all.shift_remove("disable");
    }
    for (part, value) in std::mem::take(after) {
        match (all.get_mut(&part).and_then(Value::as_object_mut), value) {
            (Some(parts), Value::Object(more)) => parts.extend(more),
            (_, value) => {
                all.insert(part, value);
            }
        }
    }
    *after = all;
}

impl Flag {
    /// Whether it says that there is to be no check at all.
    fn is_end_of_checks(&self) -> bool {
        self.name == NO_HEALTH_CHECK
    }

    fn arg(&'static self) -> Arg {
        let arg = Arg::new(self.name).long(self.name).help(self.help).help_heading(self.heading);
        if self.is_end_of_checks() {
            let checks = FLAGS.iter().filter(|f| f.heading == HEALTH && !f.is_end_of_checks());
            return arg.action(ArgAction::SetTrue).conflicts_with_all(checks.map(|f| f.name));
        }
        let arg = arg.value_name(self.value_name).value_parser(|text: &str| self.read(text));
        match self.form {
            Form::Switch => arg.num_args(0..=1).default_missing_value("true"),
            Form::List | Form::Pairs | Form::Ulimits | Form::PartPairs(_) => {
                arg.action(ArgAction::Append)
            }
            // `-1` is a value.
            Form::Number => arg.allow_negative_numbers(true),
            Form::Text | Form::Part(_) => arg,
        }
    }

    /// Reads one value. The model says what is wrong with it.
    fn read(&self, text: &str) -> Result<Value, String> {
        let value = match self.form {
            Form::Number | Form::Part("retries") => number(text),
            Form::Text | Form::List | Form::Part(_) => text.into(),
            Form::Switch => match text {
                "true" => true.into(),
                "false" => false.into(),
                _ => return Err("expected true or false".to_owned()),
            },
            Form::Pairs | Form::Ulimits | Form::PartPairs(_) => {
                let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
                let value = if self.form == Form::Ulimits { ulimit(value) } else { value.into() };
                json!({ name: value })
            }
        };
        // An option depends on its driver, and is checked with it.
        if matches!(self.form, Form::PartPairs(_)) {
            return Ok(value);
        }
        of_an_app(self.key, self.all(vec![value.clone()])).map(|()| value).map_err(|reason| {
            let Form::Part(part) = self.form else { return reason };
            reason.strip_prefix(&format!("`{part}`: ")).unwrap_or(&reason).to_owned()
        })
    }

    /// What all values of the flag make of its key.
    fn all(&self, values: Vec<Value>) -> Value {
        let last = || values.last().cloned().unwrap_or_default();
        match self.form {
            Form::Text | Form::Number | Form::Switch => last(),
            Form::List => values.into(),
            Form::Pairs | Form::Ulimits => merged(values).into(),
            Form::Part(part) => json!({ part: last() }),
            Form::PartPairs(part) => json!({ part: merged(values) }),
        }
    }

    /// What was given of it.
    fn given(&self, matches: &ArgMatches) -> Option<Value> {
        if self.is_end_of_checks() {
            return matches.get_flag(self.name).then(|| json!({ "disable": true }));
        }
        let values = matches.get_many::<Value>(self.name)?;
        Some(self.all(values.cloned().collect()))
    }
}

impl Args for OptionFlags {
    fn augment_args(command: Command) -> Command {
        command.args(FLAGS.iter().map(Flag::arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for OptionFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Object::new();
        for flag in &FLAGS {
            let Some(value) = flag.given(matches) else { continue };
            // The parts of an object come from several flags.
            match (given.get_mut(flag.key).and_then(Value::as_object_mut), value) {
                (Some(parts), Value::Object(more)) => parts.extend(more),
                (_, value) => {
                    given.insert(flag.key.to_owned(), value);
                }
            }
        }
        Ok(Self(given))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A number when it is one; else text, of which the model says what it should be.
fn number(text: &str) -> Value {
    text.parse::<Number>().map_or_else(|_| text.into(), Value::Number)
}

/// `SOFT`, or `SOFT:HARD`.
fn ulimit(text: &str) -> Value {
    match text.split_once(':') {
        Some((soft, hard)) => json!({ "soft": number(soft), "hard": number(hard) }),
        None => number(text),
    }
}

/// Objects as one; the last of a name counts.
fn merged(values: Vec<Value>) -> Object {
    let objects = values.into_iter().filter_map(|value| match value {
        Value::Object(map) => Some(map),
        _ => None,
    });
    objects.flatten().collect()
}
