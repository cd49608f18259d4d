//! Allowlists: what each type of list holds, what it does not, what becomes of a finding, and which files load.

#[cfg(test)]
mod common;
#[cfg(test)]
mod files;
#[cfg(test)]
mod naive;
#[cfg(test)]
mod output;
#[cfg(test)]
mod real;
#[cfg(test)]
mod rules;
#[cfg(test)]
#[path = "../support/shared.rs"]
mod shared;
