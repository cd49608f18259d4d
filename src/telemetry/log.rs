//! The format of the log: each event is one line, in which no value can act on a terminal or a parser.
//!
//! Values in the log come from peers and files. Everything that `tracing` receives in a field or a message is escaped
//! here, however it is formatted, so that no call can forget it.

use tracing::Subscriber;
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::{FormatFields, MakeWriter};

use crate::config::LogFormat;
use crate::escape::{Escaped, Printable, Style};

/// Creates the subscriber that writes lines of this format to `writer`. Text has colours if `is_terminal`.
pub(super) fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    is_terminal: bool,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // Formatting errors are ignored: the crate would report them with `eprintln!`, which panics and blocks. The module of
    // a line is not useful to operators.
    let builder = tracing_subscriber::fmt().log_internal_errors(false).with_env_filter(filter).with_target(false);
    match format {
        LogFormat::Text => Box::new(builder.with_ansi(is_terminal).fmt_fields(fields()).with_writer(writer).finish()),
        // JSON escapes ASCII control characters; the writer escapes the rest.
        LogFormat::Json => Box::new(builder.json().flatten_event(true).with_writer(JsonLines(writer)).finish()),
    }
}

/// Formats `message name=value name=value`, with escaped values.
fn fields() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    debug_fn(|writer: &mut Writer<'_>, field: &Field, value| match field.name() {
        "message" => write!(writer, "{:?}", Escaped(Debugged(value))),
        name if writer.has_ansi_escapes() => {
            write!(writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m{:?}", Escaped(Debugged(value)))
        }
        name => write!(writer, "{name}={:?}", Escaped(Debugged(value))),
    })
    .delimited(" ")
}

/// Displays the output of a value's `Debug`: text in quotes, and values given with `%` as they are.
struct Debugged<'a>(&'a dyn std::fmt::Debug);

impl std::fmt::Display for Debugged<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Creates writers of JSON without active characters.
struct JsonLines<W>(W);

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for JsonLines<W> {
    type Writer = Printable<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        Printable::new(self.0.make_writer(), Style::Json)
    }

    fn make_writer_for(&'w self, metadata: &tracing::Metadata<'_>) -> Self::Writer {
        Printable::new(self.0.make_writer_for(metadata), Style::Json)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;

    use super::*;
    use crate::escape::is_harmful;

    /// The output, shared with the subscriber.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns the output of `log`.
    fn logged(format: LogFormat, is_terminal: bool, log: impl FnOnce()) -> String {
        let written = Written::default();
        let make = {
            let written = written.clone();
            move || written.clone()
        };
        let subscriber = subscriber(format, EnvFilter::new("trace"), is_terminal, make);
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(std::mem::take(&mut *written.0.lock().unwrap())).unwrap()
    }

    #[test]
    fn a_line_reads_as_before() {
        let line = logged(LogFormat::Text, false, || {
            tracing::warn!(feed = "a b", count = 3, path = %Escaped("x.csv"), given = ?Some(1), "a file is gone");
        });
        assert!(line.ends_with(" WARN a file is gone feed=\"a b\" count=3 path=x.csv given=Some(1)\n"), "{line}");
        let coloured = logged(LogFormat::Text, true, || tracing::warn!(feed = "a\u{1b}[31m", "gone"));
        assert!(coloured.contains("\u{1b}[3mfeed\u{1b}[0m") && !coloured.contains("\u{1b}[31m"), "{coloured:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Guarantee: any value, however it is given, results in one line without active characters.
        /// character acts.
        #[test]
        fn an_event_is_one_line(value in prop_oneof![any::<String>(), "[\\x00-\\x20\u{7f}-\u{a0}\u{202e}\u{2028}\u{feff}]{1,20}"]) {
            for format in [LogFormat::Text, LogFormat::Json] {
                let line = logged(format, false, || {
                    let error = io::Error::other(value.clone());
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(text = value, shown = tracing::field::display(&value), debugged = ?value, error, "{value} in a message");
                });
                let (text, end) = line.split_at(line.len() - 1);
                prop_assert!(end == "\n" && !text.chars().any(is_harmful), "{:?}", line);
            }
        }
    }
}
