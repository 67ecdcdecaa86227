//! `schema`: the JSON Schema of routes.yaml, for editors.

use std::process::ExitCode;

use super::output::print;
use crate::policy::routes_yaml;

/// Prints the schema.
pub(crate) fn run() -> ExitCode {
    print(routes_yaml::JSON_SCHEMA, ExitCode::SUCCESS)
}
