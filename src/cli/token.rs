//! `token new`, `token password`: a new credential and its lines of access.yaml. It writes no file and connects to no gateway.

use std::io::{self, BufRead};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{FAILED, MISCONFIGURED, fail, print};
use crate::access::{Permission, hash_password, new_token, token_hash_hex};

/// The shortest accepted password, in characters.
const SHORTEST_PASSWORD: usize = 12;

/// The arguments of `token`.
#[derive(Args, Debug)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Generate a token and its lines for access.yaml; the token is shown once
    New {
        #[command(flatten)]
        principal: PrincipalArgs,
    },
    /// Hash a password from standard input and print its lines for access.yaml
    Password {
        #[command(flatten)]
        principal: PrincipalArgs,
        /// User name for Basic authentication
        #[arg(long)]
        user: String,
    },
}

#[derive(Args, Debug)]
struct PrincipalArgs {
    /// Name of the principal in history and logs
    #[arg(long)]
    name: String,
    /// Permissions of the principal, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = read_permission, default_value = "mode:read,mode:set")]
    permissions: Vec<Permission>,
    /// Print JSON: the principal for access.yaml, and the new token
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &TokenArgs) -> ExitCode {
    let result = match &arguments.command {
        TokenCommand::New { principal } => new_stanza(principal).map_err(|message| (message, FAILED)),
        TokenCommand::Password { principal, user } => read_password().and_then(|password| {
            let hash = hash_password(password.as_bytes()).map_err(|message| (message, FAILED))?;
            Ok(stanza(principal, &[("user", user), ("password_argon2", &hash)], None))
        }),
    };
    match result {
        Ok(text) => print(&text, ExitCode::SUCCESS),
        Err((message, code)) => fail(code, message),
    }
}

fn read_permission(name: &str) -> Result<Permission, String> {
    let known = || Permission::ALL.map(Permission::as_str).join(", ");
    Permission::from_name(name.trim()).ok_or_else(|| format!("the permissions are {}", known()))
}

fn new_stanza(principal: &PrincipalArgs) -> Result<String, String> {
    let token = new_token().map_err(|error| format!("cannot generate a token: {error}"))?;
    Ok(stanza(principal, &[("token_sha256", &token_hash_hex(&token))], Some(&token)))
}

/// JSON strings are valid YAML strings, so any name is quoted correctly.
fn stanza(principal: &PrincipalArgs, credential: &[(&str, &str)], token: Option<&str>) -> String {
    let permissions: Vec<_> = principal.permissions.iter().map(|permission| permission.as_str()).collect();
    if principal.json {
        let mut member = json!({"name": principal.name, "permissions": permissions});
        credential.iter().for_each(|(key, value)| member[*key] = json!(value));
        let mut document = json!({"principal": member});
        token.iter().for_each(|token| document["token"] = json!(token));
        return format!("{document:#}\n");
    }
    let mut lines = String::new();
    if let Some(token) = token {
        lines.push_str(&format!("# The token, shown only once; access.yaml contains its hash:\n# {token}\n"));
    }
    lines.push_str(&format!("# Under \"principals:\" of access.yaml:\n  - name: {}\n", json!(principal.name)));
    for (key, value) in credential {
        lines.push_str(&format!("    {key}: {}\n", json!(value)));
    }
    lines + &format!("    permissions: {}\n", json!(permissions))
}

fn read_password() -> Result<String, (String, u8)> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|error| (format!("cannot read the password: {error}"), FAILED))?;
    let password = line.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']);
    if password.chars().count() < SHORTEST_PASSWORD {
        return Err((
            format!("the password must have at least {SHORTEST_PASSWORD} characters, on one line"),
            MISCONFIGURED,
        ));
    }
    Ok(password.to_owned())
}
