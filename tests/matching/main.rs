//! Matching against the truth: real data, every row of the field table, every rule of policy, a slow oracle, and what
//! is written into events.

#[cfg(test)]
mod assets;
#[cfg(test)]
mod budgets;
#[cfg(test)]
mod carry;
#[cfg(test)]
mod cases;
#[cfg(test)]
mod common;
#[cfg(test)]
mod composite;
#[cfg(test)]
mod expressions;
#[cfg(test)]
mod fields;
#[cfg(test)]
mod flat;
#[cfg(test)]
mod growing;
#[cfg(test)]
mod hidden;
#[cfg(test)]
mod inbound;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod log_forms;
#[cfg(test)]
mod malformed;
#[cfg(test)]
mod meant;
#[cfg(test)]
mod naive;
#[cfg(test)]
mod named_lists;
#[cfg(test)]
mod ocsf;
#[cfg(test)]
mod ocsf_objects;
#[cfg(test)]
mod output;
#[cfg(test)]
mod pairs;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod scan;
#[cfg(test)]
mod scan_files;
#[cfg(test)]
mod schemas;
#[cfg(test)]
mod segments;
#[cfg(test)]
mod severity;
#[cfg(test)]
#[path = "../support/shared.rs"]
mod shared;
#[cfg(test)]
#[path = "../support/system_python.rs"]
mod system_python;
#[cfg(test)]
mod text;
#[cfg(test)]
mod url_parts;
#[cfg(test)]
mod values;
#[cfg(test)]
mod work;
