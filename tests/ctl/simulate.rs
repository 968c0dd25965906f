//! The simulator against real managers: what it finds, what it refuses, and what it leaves behind,
//! which is nothing.

use crate::program::User;
use crate::real::Manager;
use nebula::modes::manager::Limits;
use rstest::rstest;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take on a machine that has other work.
const PATIENCE: Duration = Duration::from_secs(60);
const BINARY: &str = env!("CARGO_BIN_EXE_nebula");

/// What a manager tells at `/metrics`.
fn metrics(url: &str) -> Option<String> {
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).ok()?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

fn metric(url: &str, name: &str) -> Option<f64> {
    let text = metrics(url)?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Waits until the first change is made and so many requests are parked: the next change is some
/// time away then.
fn wait_for_first_change(user: &User, url: &str, count: f64, child: &mut Child) {
    let deadline = Instant::now() + PATIENCE;
    let app = ["apps", "info", "simulated-fleet-00000-00", "-o", "json"];
    while !user.ctl(&app).out.contains("\"SIMULATED_CHANGE\":\"1\"") {
        assert!(Instant::now() < deadline, "no change came");
    }
    wait_until_parked(url, count, child);
}

/// Waits until so many requests are parked, while the child runs.
fn wait_until_parked(url: &str, count: f64, child: &mut Child) {
    let deadline = Instant::now() + PATIENCE;
    while metric(url, "nebula_parked") != Some(count) {
        assert!(child.try_wait().expect("known").is_none(), "the simulator ended too early");
        assert!(Instant::now() < deadline, "never {count} parked");
        std::thread::yield_now();
    }
}

fn signal(child: &Child, signal: &str) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().expect("kill").success());
}

/// Starts `nebula ctl simulate` and does not wait for it.
fn spawn(user: &User, arguments: &str) -> Child {
    Command::new(BINARY)
        .env_clear()
        .env("HOME", user.home())
        .envs(user.environment())
        .args(["ctl", "simulate", "-o", "json"])
        .args(arguments.split_whitespace())
        .current_dir(user.home())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts")
}

/// Waits for its end: exit code, result, and what it said.
fn finish(child: Child) -> (Option<i32>, Value, String) {
    let output = child.wait_with_output().expect("it ends");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    let result = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code(), result, err)
}

fn simulate(user: &User, arguments: &str) -> (Option<i32>, Value, String) {
    finish(spawn(user, arguments))
}

/// Nothing simulated is left, of any kind.
fn assert_clean(user: &User) {
    for noun in ["apps", "device-groups", "users", "user-groups"] {
        let left = user.ctl(&[noun, "list", "-o", "json"]).ok();
        assert!(!left.contains("simulated-"), "{noun}: {left}");
    }
}

fn free_address() -> SocketAddr {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    free.local_addr().expect("an address")
}

/// A manager of its own process, which can be killed.
struct Process {
    child: Child,
    address: SocketAddr,
    url: String,
}

impl Process {
    fn start(data_dir: &Path) -> Self {
        Self::start_at(data_dir, free_address())
    }

    fn start_at(data_dir: &Path, address: SocketAddr) -> Self {
        Self::start_with(data_dir, address, &[])
    }

    fn start_with(data_dir: &Path, address: SocketAddr, more: &[(&str, &PathBuf)]) -> Self {
        let child = Command::new(BINARY)
            .arg("manager")
            .env_clear()
            .env("NEBULA_LISTEN", address.to_string())
            .env("NEBULA_DATA_DIR", data_dir)
            .env("BASIC_AUTH_USER", "admin")
            .env("BASIC_AUTH_PASSWORD", "pa:ss")
            .env("RUST_LOG", "warn")
            .envs(more.iter().copied())
            .spawn()
            .expect("it starts");
        let url = format!("http://{address}");
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "the manager does not listen");
            std::thread::yield_now();
        }
        Self { child, address, url }
    }

    fn admin(&self) -> User {
        User::at(&self.url).with("NEBULA_USERNAME", "admin").with("NEBULA_PASSWORD", "pa:ss")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be dead already, which is what some tests are about.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[rstest]
#[case("--wait --ramp 0.2")]
#[case("--wait 5 --change-all --ramp 0.2")]
#[case("--check-in 0.5 --ramp 0.2")]
#[case("--ramp 0 --users 3 --apps-per-group 2")]
fn a_small_fleet_converges_on_every_change(#[case] rhythm: &str) {
    let folder = TempDir::new().expect("a folder");
    let manager = Process::start(folder.path());
    let user = manager.admin();
    let common = "--devices 200 --groups 5 --changes 3 --change-every 0.5";
    let (code, result, err) = simulate(&user, &format!("{common} {rhythm}"));
    assert_eq!(code, Some(0), "{err}\n{result:#}");
    assert_eq!(result["connected"], 200, "{result:#}");
    assert_eq!(result["converged"], 200, "{result:#}");
    assert_eq!(result["changes"]["made"], 3);
    let expected = if rhythm.contains("--change-all") { 600 } else { 120 };
    assert_eq!(result["changes"]["deliveries_expected"], expected);
    assert_eq!(result["changes"]["deliveries"], expected, "{result:#}");
    let to_device = &result["milliseconds"]["change_to_device"];
    assert_eq!(to_device["count"], expected);
    assert!(to_device["max"].as_f64() >= to_device["p50"].as_f64(), "{to_device}");
    // One container an app at first, and one more for each change of each device.
    let apps = if rhythm.contains("--apps-per-group 2") || rhythm.contains("--change-all") {
        2
    } else {
        1
    };
    assert_eq!(result["containers_started"], 200 * apps + expected, "{result:#}");
    assert_eq!(result["errors"], serde_json::json!({}));
    assert_eq!(result["connections"], 200);
    let of_manager = &result["managers"][0];
    let parked = if rhythm.contains("--check-in") { 0.0 } else { 200.0 };
    assert_eq!(of_manager["parked_peak"], parked, "{of_manager}");
    assert!(of_manager["memory_bytes_per_device"].is_number(), "{of_manager}");
    assert!(of_manager["cpu_seconds"].as_f64() > Some(0.0), "{of_manager}");
    assert_clean(&user);
}

#[test]
fn the_results_are_told_in_tables_and_in_json_of_one_shape() {
    let folder = TempDir::new().expect("a folder");
    let manager = Manager::start(folder.path());
    let user = manager.admin();
    let few = "--devices 4 --groups 2 --changes 1 --ramp 0";
    let out = user.ctl(&["simulate"].into_iter().chain(few.split(' ')).collect::<Vec<_>>());
    let table = out.ok();
    for word in ["change to device", "P99.9", "memory a device", "4 in 2 groups, parked"] {
        assert!(table.contains(word), "{word} is missing in\n{table}");
    }
    let (code, result, err) = simulate(&user, few);
    assert_eq!(code, Some(0), "{err}");
    insta::assert_snapshot!("simulate_json", shape(&result, ""));
}

/// Every key with the kind of its value.
fn shape(value: &Value, path: &str) -> String {
    match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| shape(value, &format!("{path}.{key}"))).collect()
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().map(|item| shape(item, &format!("{path}[]"))).collect()
        }
        Value::Array(_) => format!("{path}: list\n"),
        Value::Number(_) => format!("{path}: number\n"),
        Value::String(_) => format!("{path}: text\n"),
        Value::Bool(_) => format!("{path}: boolean\n"),
        Value::Null => format!("{path}: null\n"),
    }
}

#[test]
fn a_manager_with_real_groups_is_refused_unless_told() {
    let folder = TempDir::new().expect("a folder");
    let manager = Manager::start(folder.path());
    let user = manager.admin();
    user.ctl(&["apps", "create", "web", "--image", "nginx:1"]).ok();
    user.ctl(&["device-groups", "create", "site", "--app", "web"]).ok();
    let err = user.ctl(&["simulate", "--devices", "4"]).fails(1);
    insta::assert_snapshot!("simulate_refused", err);
    assert_clean(&user);
    let few = "--devices 4 --groups 2 --changes 1 --ramp 0 --beside-real-groups";
    let (code, _, err) = simulate(&user, few);
    assert_eq!(code, Some(0), "{err}");
    assert_clean(&user);
    let app: Value =
        serde_json::from_str(&user.ctl(&["apps", "info", "web", "-o", "json"]).ok()).expect("JSON");
    assert_eq!(app["app_id"], 1, "{app}");
    user.ctl(&["device-groups", "info", "site"]).ok();
}

#[test]
fn ctrl_c_ends_a_run_with_its_results_and_leaves_nothing() {
    let folder = TempDir::new().expect("a folder");
    let manager = Manager::start(folder.path());
    let user = manager.admin();
    let mut child = spawn(&user, "--devices 50 --groups 5 --changes 9999 --ramp 0");
    wait_until_parked(&manager.url, 50.0, &mut child);
    signal(&child, "-INT");
    let (code, result, err) = finish(child);
    assert_eq!(code, Some(130), "{err}");
    assert_eq!(result["connected"], 50, "{err}");
    assert!(err.contains("a second signal ends it at once"), "{err}");
    assert_clean(&user);
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next() {
    let folder = TempDir::new().expect("a folder");
    let manager = Manager::start(folder.path());
    let user = manager.admin();
    let mut child = spawn(&user, "--devices 50 --groups 5 --changes 9999 --ramp 0");
    wait_until_parked(&manager.url, 50.0, &mut child);
    child.kill().expect("killed");
    child.wait().expect("dead");
    assert!(user.ctl(&["device-groups", "list"]).ok().contains("simulated-fleet-00004"));
    // Of another name it is left alone, for it may be running on another machine.
    let few = "--devices 4 --groups 2 --changes 1 --ramp 0";
    let (code, _, err) = simulate(&user, &format!("{few} --name other"));
    assert_eq!(code, Some(0), "{err}");
    assert!(user.ctl(&["device-groups", "list"]).ok().contains("simulated-fleet-00004"));
    let (code, _, err) = simulate(&user, few);
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("an earlier run"), "{err}");
    assert_clean(&user);
}

#[test]
fn devices_come_back_when_their_manager_was_killed() {
    let folder = TempDir::new().expect("a folder");
    let mut manager = Process::start(folder.path());
    let user = manager.admin();
    let run = "--devices 50 --groups 2 --changes 2 --change-every 10 --ramp 0 --allow-errors 1000";
    let mut child = spawn(&user, run);
    wait_for_first_change(&user, &manager.url, 50.0, &mut child);
    manager.child.kill().expect("killed");
    manager.child.wait().expect("dead");
    let manager = Process::start_at(folder.path(), manager.address);
    let (code, result, err) = finish(child);
    assert_eq!(result["converged"], 50, "{err}\n{result:#}");
    assert!(result["errors"]["reset"].as_u64() >= Some(1), "{result:#}");
    assert!(result["connections"].as_u64() >= Some(100), "{result:#}");
    assert_eq!(result["managers"][0]["is_one_process"], false, "{result:#}");
    assert!(err.contains("restarted"), "{err}");
    assert_eq!(code, Some(0), "{err}");
    assert_clean(&manager.admin());
}

#[test]
fn errors_beyond_those_allowed_are_a_failure() {
    let folder = TempDir::new().expect("a folder");
    let mut manager = Process::start(folder.path());
    let user = manager.admin();
    let mut child = spawn(&user, "--devices 20 --groups 2 --changes 2 --change-every 10 --ramp 0");
    wait_for_first_change(&user, &manager.url, 20.0, &mut child);
    manager.child.kill().expect("killed");
    manager.child.wait().expect("dead");
    let _manager = Process::start_at(folder.path(), manager.address);
    let (code, _, err) = finish(child);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("errors of devices, 0 are allowed"), "{err}");
}

#[test]
fn a_manager_without_a_place_left_is_measured_all_the_same() {
    let folder = TempDir::new().expect("a folder");
    // One that gives nobody a pace: whoever has a place keeps it.
    let limits = Limits { connections: 30, parking_percent: 100, ..Limits::default() };
    let manager = Manager::start_with(folder.path(), limits);
    let user = manager.admin();
    let run = "--devices 60 --groups 2 --changes 1 --ramp 0 --patience 3";
    let (code, result, err) = simulate(&user, run);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("devices never got an answer"), "{err}");
    let connected = result["connected"].as_u64().expect("a number");
    assert!((1..30).contains(&connected), "{result:#}");
    assert!(result["errors"]["503"].as_u64() >= Some(1), "{result:#}");
    let of_manager = &result["managers"][0];
    assert!(of_manager["connections_refused"].as_f64() >= Some(1.0), "{of_manager}");
    assert!(of_manager["memory_bytes_connected"].is_number(), "{of_manager}");
    assert_clean(&user);
}

#[test]
fn devices_connect_over_tls() {
    let folder = TempDir::new().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let tls = [("NEBULA_TLS_CERT_FILE", &certificate), ("NEBULA_TLS_KEY_FILE", &key)];
    let manager = Process::start_with(folder.path(), free_address(), &tls);
    let url = format!("https://localhost:{}", manager.address.port());
    let user = User::at(&url)
        .with("NEBULA_USERNAME", "admin")
        .with("NEBULA_PASSWORD", "pa:ss")
        .with("SSL_CERT_FILE", &certificate.display().to_string());
    let (code, result, err) = simulate(&user, "--devices 40 --groups 2 --changes 2 --ramp 0");
    assert_eq!(code, Some(0), "{err}\n{result:#}");
    assert_eq!(result["converged"], 40, "{result:#}");
    assert_eq!(result["managers"][0]["parked_peak"], 40.0, "{result:#}");
    assert_clean(&user);
}

#[test]
fn who_may_not_is_told_what_it_takes() {
    let folder = TempDir::new().expect("a folder");
    let manager = Manager::start(folder.path());
    let wrong = User::at(&manager.url).with("NEBULA_TOKEN", "wrong");
    let err = wrong.ctl(&["simulate", "--devices", "4"]).fails(1);
    assert!(err.contains("does not accept the credentials"), "{err}");
    let admin = manager.admin();
    let made = admin.ctl(&["users", "create", "eva", "-o", "json"]).ok();
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let token = made["generated"]["token"].as_str().expect("a token").to_owned();
    let eva = User::at(&manager.url).with("NEBULA_TOKEN", &token);
    let err = eva.ctl(&["simulate", "--devices", "4"]).fails(1);
    assert!(err.contains("takes an admin"), "{err}");
    assert_clean(&admin);
}

#[test]
fn more_devices_than_open_files_are_refused_with_the_number_that_fits() {
    let folder = TempDir::new().expect("a folder");
    let manager = Manager::start(folder.path());
    let user = manager.admin();
    let run = |limits: &str, devices: usize| {
        let script = format!(
            "ulimit {limits}; exec {BINARY} ctl simulate --devices {devices} --changes 1 --ramp 0"
        );
        let mut shell = Command::new("bash");
        shell.env_clear().env("HOME", user.home()).envs(user.environment());
        shell.args(["-c", &script]).output().expect("it runs")
    };
    let refused = run("-n 200", 300);
    let err = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{err}");
    assert!(err.contains("136 devices fit"), "{err}");
    assert_clean(&user);
    // The soft limit is its own to raise.
    let raised = run("-Sn 100", 120);
    assert_eq!(raised.status.code(), Some(0), "{}", String::from_utf8_lossy(&raised.stderr));
}

#[rstest]
#[case("--devices 0", "--devices")]
#[case("--check-in 0", "must be more than 0")]
#[case("--wait 301", "--wait")]
#[case("--wait 5 --check-in 5", "cannot be used with")]
#[case("--name Big_Fleet", "lower case letters and digits")]
#[case("--manager ftp://there", "expected http://")]
fn what_makes_no_sense_is_refused(#[case] arguments: &str, #[case] words: &str) {
    let folder = TempDir::new().expect("a folder");
    let manager = Manager::start(folder.path());
    let arguments = format!("simulate {arguments}");
    let err = manager.admin().ctl(&arguments.split_whitespace().collect::<Vec<_>>()).fails(2);
    assert!(err.contains(words), "{err}");
}

#[test]
fn a_manager_tells_what_its_process_takes() {
    let folder = TempDir::new().expect("a folder");
    let manager = Process::start(folder.path());
    let value = |name| metric(&manager.url, name).unwrap_or_else(|| panic!("{name} is missing"));
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", manager.child.id())).expect("it");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
    let resident: f64 = resident.expect("a line").trim().parse().expect("a number");
    let told = value("process_resident_memory_bytes") / 1024.0;
    assert!((0.5..2.0).contains(&(told / resident)), "{told} kB, and the kernel says {resident}");
    assert!((5.0..1_000.0).contains(&value("process_open_fds")));
    assert!(value("process_max_fds") > value("process_open_fds"));
    assert!(value("process_cpu_seconds_total") > 0.0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after");
    let age = now.as_secs_f64() - value("process_start_time_seconds");
    assert!((-1.0..60.0).contains(&age), "started {age} s ago");
    let text = metrics(&manager.url).expect("metrics");
    assert!(text.contains("nebula_connections ") && text.ends_with("# EOF\n"), "{text}");
}
