//! The app of the demo and of the tests: one page, its version, its health.
//!
//! One file, the standard library only, built by plain `rustc` into a static binary that runs in
//! an image `FROM scratch`. It is no example of a web server: one request a connection, no bodies,
//! no TLS. It is an example of an app that is pleasant to operate: it says which version it is,
//! whether it is well, and nothing a client sends can end it.
//!
//! - `GET /` the page, `/version` the bare version, `/health` 200 or 503
//! - `GET /env/NAME` the value of an environment variable, 404 when unset. The container's
//!   environment holds no secrets; a test reads here what really arrived in it.
//! - `site health` asks the running server and exits 0 or 1 (the image's HEALTHCHECK)
//! - `site version` prints the version
//!
//! Environment: `PORT` (80), `GREETING`, `SITE_VERSION` (set by the image). For tests of what may go
//! wrong with an app: `FAIL_HEALTH=1` (never healthy), `HEALTHY_AFTER_MS` (not healthy before),
//! `UNHEALTHY_AFTER_MS` (not healthy from then on), `EXIT_AFTER_MS` and `EXIT_CODE` (0) (ends by
//! itself), `HOLD_MEMORY_MB` (uses that much).
//!
//! SIGTERM ends it in order: it says that it is not well, so that a load balancer passes it over,
//! answers everyone who is connected already, and ends with 0.

use std::env;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A browser's request line and headers are about 1 kB; this is room for large cookies.
const HEAD_LIMIT_BYTES: usize = 8 * 1024;
/// How long a client may take to send its request or to read the answer.
const CLIENT_DEADLINE: Duration = Duration::from_secs(5);
/// Connections served at once; what comes on top is refused. Bounds memory to some megabytes.
const CONNECTIONS_MAX: usize = 128;

static CONNECTIONS: AtomicUsize = AtomicUsize::new(0);
/// Set by SIGTERM.
static IS_STOPPING: AtomicBool = AtomicBool::new(false);
/// When the server started.
static STARTED: OnceLock<Instant> = OnceLock::new();

fn main() -> ExitCode {
    match env::args().nth(1).as_deref() {
        None => serve(),
        Some("health") => ask_health(),
        Some("version") => {
            // Not `println!`: it panics when nobody reads any more.
            let _ = writeln!(io::stdout(), "{}", version());
            ExitCode::SUCCESS
        }
        Some(other) => {
            let _ = writeln!(
                io::stderr(),
                "site: unknown command `{other}`: use `health`, `version` or none"
            );
            ExitCode::from(2)
        }
    }
}

/// The image's version: baked into the image, so a new image shows a new page by itself.
fn version() -> String {
    variable("SITE_VERSION").unwrap_or_else(|| "unknown".into())
}

/// A variable that is set to the empty string counts as unset.
fn variable(name: &str) -> Option<String> {
    env::var_os(name)
        .map(|value| value.to_string_lossy().into_owned())
        .filter(|value| !value.is_empty())
}

fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    variable(name).and_then(|value| value.parse().ok())
}

fn port() -> u16 {
    number("PORT").unwrap_or(80)
}

fn healthy() -> bool {
    let up = STARTED.get_or_init(Instant::now).elapsed();
    let is_past = |name| number(name).map(Duration::from_millis).map(|limit| up >= limit);
    variable("FAIL_HEALTH").as_deref() != Some("1")
        && is_past("HEALTHY_AFTER_MS") != Some(false)
        && is_past("UNHEALTHY_AFTER_MS") != Some(true)
        && !IS_STOPPING.load(Ordering::Relaxed)
}

fn serve() -> ExitCode {
    // Before the first thread, for threads inherit what is blocked.
    let terminated = sigterm::block();
    STARTED.get_or_init(Instant::now);
    if let Some(milliseconds) = number("EXIT_AFTER_MS") {
        let code = number("EXIT_CODE").unwrap_or(0);
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(milliseconds));
            std::process::exit(code);
        });
    }
    // Ones, for the kernel gives no memory to zeros that nobody wrote.
    let _held =
        number("HOLD_MEMORY_MB").map(|mb: usize| std::hint::black_box(vec![1_u8; mb << 20]));
    let listener = match TcpListener::bind((Ipv4Addr::UNSPECIFIED, port())) {
        Ok(listener) => listener,
        Err(error) => {
            let _ = writeln!(io::stderr(), "site: cannot listen on port {}: {error}", port());
            return ExitCode::FAILURE;
        }
    };
    thread::spawn(move || {
        sigterm::wait(&terminated);
        IS_STOPPING.store(true, Ordering::Relaxed);
        // `accept` waits for a connection and for nothing else: so it gets one.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, port()));
    });
    let _ = writeln!(io::stdout(), "site {} listens on port {}", version(), port());
    accept(&listener);
    drop(listener);
    let deadline = Instant::now() + CLIENT_DEADLINE;
    while CONNECTIONS.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    ExitCode::SUCCESS
}

/// Serves until SIGTERM, and after it all who are connected already.
fn accept(listener: &TcpListener) {
    loop {
        // A listener that cannot be made so would keep us from ending.
        if IS_STOPPING.load(Ordering::Relaxed) && listener.set_nonblocking(true).is_err() {
            return;
        }
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => {
                // Out of file descriptors, most likely: give the open connections time to end.
                thread::sleep(Duration::from_millis(50));
                continue;
            }
        };
        if CONNECTIONS.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            CONNECTIONS.fetch_sub(1, Ordering::Relaxed);
            continue; // dropping the stream closes it
        }
        let answered = thread::Builder::new().stack_size(128 * 1024).spawn(move || {
            // A client that went away is its own affair.
            let _ = converse(stream);
            CONNECTIONS.fetch_sub(1, Ordering::Relaxed);
        });
        if answered.is_err() {
            CONNECTIONS.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// SIGTERM as something to wait for. The standard library has nothing for signals, so these are
/// libc's own functions; waiting needs no handler and none of a handler's care.
mod sigterm {
    /// What libc keeps a set of signals in: 128 bytes on Linux.
    #[repr(C, align(8))]
    pub struct Set([u8; 128]);

    const SIGTERM: i32 = 15;
    const SIG_BLOCK: i32 = 0;

    unsafe extern "C" {
        fn sigemptyset(set: *mut Set) -> i32;
        fn sigaddset(set: *mut Set, signal: i32) -> i32;
        fn pthread_sigmask(how: i32, set: *const Set, old: *mut Set) -> i32;
        fn sigwait(set: *const Set, signal: *mut i32) -> i32;
    }

    /// Keeps SIGTERM back, in this thread and those that it starts. Without it the kernel drops
    /// the signal: this is PID 1 of its container.
    pub fn block() -> Set {
        let mut set = Set([0; 128]);
        // SAFETY: `set` is as large and as aligned as libc's own, and outlives the calls; no old
        // set is asked for.
        unsafe {
            sigemptyset(&raw mut set);
            sigaddset(&raw mut set, SIGTERM);
            pthread_sigmask(SIG_BLOCK, &raw const set, std::ptr::null_mut());
        }
        set
    }

    /// Returns when SIGTERM came.
    pub fn wait(set: &Set) {
        let mut signal = 0;
        // SAFETY: both outlive the call.
        while unsafe { sigwait(set, &raw mut signal) } != 0 {}
    }
}

struct Reply {
    status: &'static str,
    content_type: &'static str,
    body: String,
}

fn text(status: &'static str, body: impl Into<String>) -> Reply {
    Reply { status, content_type: "text/plain; charset=utf-8", body: body.into() }
}

/// Reads one request, answers it and closes the connection.
fn converse(mut stream: TcpStream) -> io::Result<()> {
    stream.set_write_timeout(Some(CLIENT_DEADLINE))?;
    let head = read_head(&mut stream)?;
    let (reply, head_only) = match &head {
        Some(head) => route(head),
        None => (text("431 Request Header Fields Too Large", "request too large\n"), false),
    };
    let header = format!(
        "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
        reply.status,
        reply.content_type,
        reply.body.len()
    );
    stream.write_all(header.as_bytes())?;
    if !head_only {
        stream.write_all(reply.body.as_bytes())?;
    }
    // Closing with unread bytes in the socket resets it, and the client may lose the answer: say
    // that we are done, then swallow a bounded rest.
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut rest = [0; 4096];
    for _ in 0..16 {
        if stream.read(&mut rest)? == 0 {
            break;
        }
    }
    Ok(())
}

/// The request up to the empty line, or `None` when it is larger than the limit.
fn read_head(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let deadline = Instant::now() + CLIENT_DEADLINE;
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        if head.len() > HEAD_LIMIT_BYTES {
            return Ok(None);
        }
        // A zero timeout is an error of its own, which ends the connection as well.
        stream.set_read_timeout(Some(deadline.saturating_duration_since(Instant::now())))?;
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => head.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

fn route(head: &str) -> (Reply, bool) {
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (method, target, protocol) = (words.next(), words.next(), words.next());
    let (Some(method), Some(target), true) =
        (method, target, protocol.is_some_and(|word| word.starts_with("HTTP/1.")))
    else {
        return (text("400 Bad Request", "not an HTTP/1 request\n"), false);
    };
    if !matches!(method, "GET" | "HEAD") {
        return (text("405 Method Not Allowed", "only GET and HEAD\n"), false);
    }
    let path = target.split('?').next().unwrap_or_default();
    let reply = match path {
        "/" => Reply { status: "200 OK", content_type: "text/html; charset=utf-8", body: page() },
        "/version" => text("200 OK", version() + "\n"),
        "/health" if healthy() => text("200 OK", "ok\n"),
        "/health" => text("503 Service Unavailable", "unhealthy\n"),
        _ => match path.strip_prefix("/env/").and_then(env_value) {
            Some(value) => text("200 OK", value),
            None => text("404 Not Found", "nothing here\n"),
        },
    };
    (reply, method == "HEAD")
}

/// `env::var_os` of an empty name, or of one with `=` or NUL in it, is `None` and no panic.
fn env_value(name: &str) -> Option<String> {
    env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

fn page() -> String {
    let hostname = variable("HOSTNAME")
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .unwrap_or_else(|| "somewhere".into());
    let greeting = variable("GREETING").unwrap_or_else(|| "Hello from your fleet".into());
    let version = version();
    // Each version has its own colour, so that a change is seen across the room.
    let hue = version.bytes().fold(195_u32, |hue, byte| (hue * 31 + u32::from(byte) * 47) % 360);
    PAGE.replace("{hue}", &hue.to_string())
        .replace("{version}", &escape(&version))
        .replace("{hostname}", &escape(hostname.trim()))
        .replace("{greeting}", &escape(&greeting))
}

/// Braces are escaped too, so that a value cannot be taken for a place in the page.
fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '&' | '<' | '>' | '"' | '\'' | '{' | '}' => {
                escaped.push_str(&format!("&#{};", u32::from(character)));
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

/// Asks the server of this container as a client would, within two seconds a step.
fn ask_health() -> ExitCode {
    let ask = || -> io::Result<bool> {
        let patience = Duration::from_secs(2);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port()));
        let mut stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(&status == b"HTTP/1.1 200")
    };
    match ask() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            let _ = writeln!(io::stdout(), "unhealthy");
            ExitCode::FAILURE
        }
        Err(error) => {
            let _ = writeln!(io::stdout(), "no answer: {error}");
            ExitCode::FAILURE
        }
    }
}

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{greeting} - version {version}</title>
<link rel="icon" href="data:,">
<style>
  :root { --accent: hsl({hue} 85% 62%); --glow: hsl({hue} 85% 40% / .35); }
  * { box-sizing: border-box; margin: 0; }
  body {
    min-height: 100vh; display: grid; place-items: center; padding: 1.5rem; color: #e9edf6;
    font: 1rem/1.5 ui-sans-serif, system-ui, "Segoe UI", Roboto, sans-serif; background: #0b0f1a;
    background-image: radial-gradient(60rem 40rem at 70% -10%, var(--glow), transparent),
      radial-gradient(40rem 30rem at 0% 110%, var(--glow), transparent);
  }
  main {
    width: min(36rem, 100%); padding: 2.5rem; border: 1px solid #ffffff1a; border-radius: 1.25rem;
    background: #121829cc; box-shadow: 0 1.5rem 4rem #0009;
  }
  h1 { font-size: clamp(1.6rem, 5vw, 2.3rem); line-height: 1.15; letter-spacing: -.02em; overflow-wrap: anywhere; }
  .version { font-size: clamp(4rem, 18vw, 7rem); font-weight: 800; line-height: 1; margin: 1.5rem 0 .25rem; color: var(--accent); overflow-wrap: anywhere; }
  .word { color: #9aa6bf; text-transform: uppercase; letter-spacing: .16em; font-size: .75rem; }
  dl { display: grid; grid-template-columns: auto 1fr; gap: .4rem 1.25rem; margin-top: 2rem; padding-top: 1.5rem; border-top: 1px solid #ffffff1a; }
  dt { color: #9aa6bf; } dd { font-family: ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
</style>
<main>
  <h1>{greeting}</h1>
  <p class="version">{version}</p>
  <p class="word">version of this image</p>
  <dl><dt>container</dt><dd>{hostname}</dd><dt>kept by</dt><dd>nebula</dd></dl>
</main>
</html>
"#;
