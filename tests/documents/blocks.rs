//! Fenced code blocks of a document, hidden blocks of shell, and the commands in a block of shell.

use std::iter::Peekable;
use std::str::Chars;

/// The language of a block of shell that readers do not see: a comment that begins with a line `<!-- sh`. It prepares or
/// checks what the other blocks do.
pub const HIDDEN: &str = "sh hidden";

/// A fenced code block, or a hidden one.
#[derive(Debug, PartialEq)]
pub struct Block {
    /// The words after the fence, such as `text output`, or [`HIDDEN`].
    pub language: String,
    pub text: String,
    /// The line of the fence, from 1.
    pub line: usize,
}

/// The fenced and hidden blocks of a document, those in list items too.
pub fn all(document: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<usize> = None;
    for (at, line) in document.lines().enumerate() {
        let trimmed = line.trim_start();
        let is_hidden = open.is_some() && blocks.last().is_some_and(|block| block.language == HIDDEN);
        let fence = match trimmed {
            "<!-- sh" => Some(HIDDEN),
            "-->" if is_hidden => Some(""),
            _ => trimmed.strip_prefix("```"),
        };
        match (open, fence) {
            (None, Some(language)) => {
                open = Some(line.len() - trimmed.len());
                blocks.push(Block { language: language.trim().to_owned(), text: String::new(), line: at + 1 });
            }
            (Some(_), Some(_)) => open = None,
            (Some(indent), None) => {
                let text = &mut blocks.last_mut().unwrap().text;
                let blanks = line.len() - trimmed.len();
                text.push_str(&line[indent.min(blanks)..]);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

/// The commands of a block of shell, each as its words. Here-documents, comments and redirections are left out; quotes
/// are removed and nothing is expanded.
pub fn commands(shell: &str) -> Vec<Vec<String>> {
    let joined = without_here_documents(shell).replace("\\\n", " ");
    let mut commands = vec![Vec::new()];
    let mut rest = joined.chars().peekable();
    while let Some(c) = rest.peek().copied() {
        match c {
            '\n' | ';' | '&' | '|' | '(' | ')' => {
                rest.next();
                commands.push(Vec::new());
            }
            '#' => while rest.next_if(|c| *c != '\n').is_some() {},
            '<' | '>' => {
                while rest.next_if(|c| "<>&".contains(*c)).is_some() {}
                while rest.next_if(|c| *c == ' ').is_some() {}
                word(&mut rest);
            }
            c if c.is_whitespace() => {
                rest.next();
            }
            _ => {
                let word = word(&mut rest);
                commands.last_mut().unwrap().push(word);
            }
        }
    }
    commands.retain(|words| !words.is_empty());
    commands
}

/// The next word, without its quotes.
fn word(rest: &mut Peekable<Chars>) -> String {
    let (mut word, mut quote) = (String::new(), None);
    while let Some(c) = rest.next_if(|c| quote.is_some() || !(c.is_whitespace() || ";&|()<>".contains(*c))) {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            _ => word.push(c),
        }
    }
    word
}

/// The text without the bodies of here-documents (`<<'WORD'` … `WORD`).
fn without_here_documents(shell: &str) -> String {
    let (mut kept, mut end) = (String::new(), None);
    for line in shell.lines() {
        match &end {
            Some(word) => {
                if line == word {
                    end = None;
                }
            }
            None => {
                let word = line.split("<<").nth(1).filter(|rest| !rest.starts_with('<'));
                end = word.map(|rest| rest.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect::<String>());
                kept.push_str(line);
                kept.push('\n');
            }
        }
    }
    kept
}

#[test]
fn blocks_and_commands_are_found() {
    let found = all("a\n```sh\nls\n```\n- b\n\n  ```text\n  c\n    d\n  ```\n<!-- sh\ne\n-->\n<!-- f\n-->\n");
    let block = |language: &str, text: &str, line| Block { language: language.into(), text: text.into(), line };
    assert_eq!(found, [block("sh", "ls\n", 2), block("text", "c\n  d\n", 7), block(HIDDEN, "e\n", 11)]);
    let found = commands(
        "(cd .. && a --x 'b c' > out 2>&1) & # no\ncat > f <<'E'\nhotlist no\nE\ne \\\n  \"f\" | g\nh - < in.json\n",
    );
    let words: Vec<String> = found.iter().map(|words| words.join(",")).collect();
    assert_eq!(words, ["cd,..", "a,--x,b c,2", "cat", "e,f", "g", "h,-"]);
}
