//! Cases that cost more than the published bound, each with what it may cost instead. `docs/security.md` names them.

/// What the cases whose name begins with `case` may cost; the bounds that are not raised are the published ones.
pub struct Exception {
    pub case: &'static str,
    pub cpu: f64,
    pub growth: f64,
    /// Bytes for a byte of input.
    pub memory: f64,
}

/// Measured, and about a tenth more.
pub const EXCEPTIONS: [Exception; 9] = [
    Exception { case: "nesting at wanted keys, OtlpAttributes, Other", cpu: 40.0, growth: 4.5, memory: 20.0 },
    Exception { case: "nesting at wanted keys, OtlpText, Other", cpu: 40.0, growth: 4.5, memory: 32.0 },
    Exception { case: "nesting at wanted keys, Filter, Same", cpu: 40.0, growth: 4.5, memory: 50.0 },
    Exception { case: "nesting at wanted keys, Filter, Other", cpu: 40.0, growth: 4.5, memory: 34.0 },
    Exception { case: "a large resource next to tiny records, OtlpBody, Other", cpu: 40.0, growth: 7.5, memory: 250.0 },
    Exception { case: "many resources without records, OtlpBody, Other", cpu: 40.0, growth: 4.5, memory: 25.0 },
    Exception { case: "many resources without records, OtlpBody, Split", cpu: 40.0, growth: 4.5, memory: 60.0 },
    Exception { case: "empty records, OtlpBody, Other", cpu: 45.0, growth: 4.5, memory: 45.0 },
    Exception { case: "empty records, OtlpBody, Split", cpu: 40.0, growth: 4.5, memory: 30.0 },
];

/// The exception for a case.
pub fn of(case: &str) -> Option<&'static Exception> {
    EXCEPTIONS.iter().find(|exception| case.starts_with(exception.case))
}
