//! What a page says that a command prints, compared with what it printed.
//!
//! A line must be printed as it stands there, but for blanks at its end and in a row (tables are as
//! wide as what is in them). `...` within a line is anything, and a line that is `...` alone is any
//! number of lines, none too.

/// Whether the text is what the lines expect.
pub(crate) fn matches(expected: &[String], printed: &str) -> bool {
    let printed: Vec<String> = printed.lines().map(squeezed).collect();
    let expected: Vec<String> = expected.iter().map(|line| squeezed(line)).collect();
    // Empty lines at the end are seen by nobody.
    lines_match(without_end(&expected), without_end(&printed))
}

fn without_end(lines: &[String]) -> &[String] {
    let end = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
    &lines[..end]
}

fn squeezed(line: &str) -> String {
    let line = line.trim_end();
    let text = line.trim_start();
    let indent = &line[..line.len() - text.len()];
    format!("{indent}{}", text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn lines_match(expected: &[String], printed: &[String]) -> bool {
    let Some((first, rest)) = expected.split_first() else { return printed.is_empty() };
    if first == "..." {
        return (0..=printed.len()).any(|skipped| lines_match(rest, &printed[skipped..]));
    }
    let Some((line, others)) = printed.split_first() else { return false };
    line_matches(first, line) && lines_match(rest, others)
}

fn line_matches(expected: &str, line: &str) -> bool {
    let Some((before, mut rest)) = expected.split_once("...") else { return expected == line };
    let Some(mut line) = line.strip_prefix(before) else { return false };
    while let Some((part, more)) = rest.split_once("...") {
        let Some(at) = line.find(part) else { return false };
        line = &line[at + part.len()..];
        rest = more;
    }
    line.ends_with(rest)
}
