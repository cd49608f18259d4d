//! Reads Rust sources for the rules: what is code in them, without comments, the contents of strings, and tests.

/// The code of a file: no comments, no contents of literals, and none of the items that only tests have, wherever in the
/// file they are.
pub fn code(text: &str) -> String {
    without_tests(&without_literals(text))
}

/// The text without the lines of items that only tests have, wherever in the file they are. Lines keep their numbers.
pub fn without_test_lines(text: &str) -> String {
    let (all, mut is_test) = (without_literals(text), false);
    let kept = without_tests(&all);
    let mut lines = all.lines().zip(kept.lines().chain(std::iter::repeat("")));
    let line = |line: &str| {
        // A line of comments or within a literal belongs to the line before it.
        if let Some((_, kept)) = lines.next().filter(|(all, _)| !all.trim().is_empty()) {
            is_test = kept.trim().is_empty();
        }
        (if is_test { "" } else { line }).to_owned() + "\n"
    };
    text.lines().map(line).collect()
}

/// The string literals of a file with the lines on which they begin. Escapes stay, but for the ends of lines.
pub fn strings(text: &str) -> Vec<(usize, String)> {
    let (mut found, mut line, mut before, mut rest) = (Vec::new(), 1, None, text);
    while let Some(c) = rest.chars().next() {
        let length = match literal(before, rest) {
            Some((length, left)) => {
                if left == "\"\"" {
                    let inside = rest[..length].split_once('"').map_or("", |(_, inside)| inside);
                    let inside = inside.trim_end_matches('#').strip_suffix('"').unwrap_or(inside);
                    let lines = inside.split("\\\n").enumerate();
                    let string = lines.map(|(at, part)| if at == 0 { part } else { part.trim_start() }).collect();
                    found.push((line, string));
                }
                length
            }
            None => c.len_utf8(),
        };
        line += rest[..length].matches('\n').count();
        before = rest[..length].chars().next_back();
        rest = &rest[length..];
    }
    found
}

/// Skips a literal or comment at the beginning of `rest`; `None` where there is neither. Gives its length and what is
/// left of it.
fn literal(before: Option<char>, rest: &str) -> Option<(usize, &'static str)> {
    let to = |end: Option<usize>| end.unwrap_or(rest.len());
    if rest.starts_with("//") {
        return Some((to(rest.find('\n')), ""));
    }
    if rest.starts_with("/*") {
        let (mut depth, mut at) = (0_usize, 0);
        while at < rest.len() {
            match &rest.as_bytes()[at..] {
                [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
                [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
                _ => at += 1,
            }
            if depth == 0 {
                break;
            }
        }
        return Some((at, ""));
    }
    if before.is_none_or(|c| !c.is_alphanumeric() && c != '_') {
        let prefix = ["br", "cr", "b", "c", "r"].into_iter().find(|prefix| rest.starts_with(prefix)).unwrap_or("");
        let quoted = &rest[prefix.len()..];
        let hashes = quoted.len() - quoted.trim_start_matches('#').len();
        if prefix.ends_with('r') && quoted[hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let from = prefix.len() + hashes + 1;
            return Some((to(rest[from..].find(&close).map(|at| from + at + close.len())), "\"\""));
        }
        if quoted.starts_with('"') && !prefix.ends_with('r') {
            return Some((prefix.len() + ended(quoted, '"'), "\"\""));
        }
        if prefix == "b" && quoted.starts_with('\'') {
            return Some((1 + ended(quoted, '\''), "''"));
        }
    }
    // A lifetime is followed by no second quote.
    let is_char = rest.starts_with("'\\") || rest.starts_with('\'') && rest.chars().nth(2) == Some('\'');
    is_char.then(|| (ended(rest, '\''), "''"))
}

/// The length of what begins with a quote, up to the next one that is not escaped.
fn ended(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

fn without_literals(text: &str) -> String {
    let (mut code, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(c) = rest.chars().next() {
        match literal(code.chars().next_back(), rest) {
            Some((length, left)) => {
                code.push_str(left);
                // Lines keep their numbers.
                code.extend(rest[..length].chars().filter(|c| *c == '\n'));
                rest = &rest[length..];
            }
            None => {
                code.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    code
}

/// How an item begins whose first braces do not end it.
const STATEMENTS: [&str; 5] = ["use ", "static ", "const ", "type ", "let "];
/// How the other items begin, in which a comma outside of brackets means nothing.
const ITEMS: [&str; 8] = ["mod ", "fn ", "const fn ", "async fn ", "impl", "struct ", "enum ", "trait "];

/// The length of the item at the beginning of `rest`, its attributes included.
fn item(rest: &str) -> usize {
    let mut at = 0;
    loop {
        at += rest[at..].len() - rest[at..].trim_start().len();
        if !rest[at..].starts_with("#[") {
            break;
        }
        at += rest[at..].find(']').map_or(rest.len() - at, |end| end + 1);
    }
    let mut head = rest[at..].trim_start_matches("pub ");
    if let Some(restricted) = head.strip_prefix("pub(") {
        head = restricted.split_once(')').map_or("", |(_, head)| head.trim_start());
    }
    let is_item = ITEMS.iter().any(|word| head.starts_with(word));
    let is_statement = !is_item && STATEMENTS.iter().any(|word| head.starts_with(word));
    let mut depth = 0_usize;
    for (offset, c) in rest[at..].char_indices() {
        let end = at + offset;
        match c {
            '(' | '[' | '{' => depth += 1,
            // It was the last of what is around it.
            ')' | ']' | '}' if depth == 0 => return end,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        match c {
            ';' if depth == 0 => return end + 1,
            '}' if depth == 0 && !is_statement => return end + 1,
            ',' if depth == 0 && !is_item && !is_statement => return end + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Takes out what is compiled for tests only.
fn without_tests(code: &str) -> String {
    const ONLY_TESTS: &str = "#[cfg(test)]";
    let (mut kept, mut from) = (String::with_capacity(code.len()), 0);
    while let Some(at) = code[from..].find(ONLY_TESTS) {
        kept.push_str(&code[from..from + at]);
        let begin = from + at;
        from = begin + ONLY_TESTS.len() + item(&code[begin + ONLY_TESTS.len()..]);
        kept.extend(code[begin..from].chars().filter(|c| *c == '\n'));
    }
    kept.push_str(&code[from..]);
    kept
}

#[test]
fn literals_and_comments_are_no_code() {
    let text = r####"let a = "// \" x"; /* b /* c */ " */ let d = '"'; let e = b'\''; fn f<'a>(x: &'a str) {}
let g = r#"h " // "#; let i = br"\"; let r#type = 'j'; // k
let l = "m
n"; o"####;
    let expected = "let a = \"\";  let d = ''; let e = ''; fn f<'a>(x: &'a str) {}\n\
        let g = \"\"; let i = \"\"; let r#type = ''; \nlet l = \"\"\n; o";
    assert_eq!(without_literals(text), expected);
}

#[test]
fn strings_are_found_outside_of_tests() {
    let text =
        "f(\"a \\\n   b\", '\"'); // \"c\"\n#[cfg(test)]\nmod t {\n\"d\n}\n\";\n}\ng(r#\"e \" f\"#, \"\\\"\");\n";
    let found = strings(&without_test_lines(text));
    assert_eq!(found, [(1, "a b".to_owned()), (9, "e \" f".to_owned()), (9, "\\\"".to_owned())]);
}

#[test]
fn only_what_tests_have_is_left_out() {
    let text = "#[cfg(test)]\nmod a;\nuse b;\n#[cfg(test)]\npub(super) fn c<A, B>(d: [u8; 2]) -> E {\n{}\n}\nf();\n\
        struct G {\n#[cfg(test)]\nh: [u8; 3],\ni: J,\n#[cfg(test)] k: L }\n#[cfg(test)]\nuse m::{n, o};\n\
        #[cfg(test)]\n#[path = \"\"]\nmod p { fn q() {} }\nr";
    let kept: Vec<String> =
        code(text).lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    assert_eq!(kept, ["use b;", "f();", "struct G {", "i: J,", "}", "r"]);
    assert_eq!(code(text).lines().count(), text.lines().count());
}
