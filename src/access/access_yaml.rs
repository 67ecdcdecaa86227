//! access.yaml: text to principals, by the strict reader. All faults are reported at once, each with file, line, text and
//! remedy. It verifies no credential.
//!
//! ```yaml
//! version: 1
//! roles:
//!   operator: [mode:read, mode:set]
//! principals:
//!   - name: night-shift
//!     token_sha256: 64 hex digits
//!     roles: [operator]
//!   - name: ucs-console
//!     user: console
//!     password_argon2: $argon2id$…
//!     permissions: [mode:set]
//!   - name: root
//!     unix_uid: 0
//!     roles: [operator]
//!   - name: pipeline
//!     client_certificate: cn:pipeline.example
//!     roles: [operator]
//! ```

use std::collections::BTreeMap;

use super::principal::{CertificateName, Credential, Member, Permission, Permissions, Principal};
use super::secrets::{PasswordHash, TokenHash};
use crate::policy::strict_yaml::{
    self, Diagnostic, Diagnostics, Fields, Node, entries, list, name, text, version, whole_number,
};
use crate::policy::table::Issue;

const FILE_KEYS: [&str; 3] = ["version", "roles", "principals"];
const PRINCIPAL_KEYS: [&str; 8] =
    ["name", "token_sha256", "user", "password_argon2", "unix_uid", "client_certificate", "roles", "permissions"];

/// The longest name of a principal, in bytes.
const LONGEST_NAME: usize = 100;

type Roles<'n> = BTreeMap<&'n str, Permissions>;

/// Reads the text of access.yaml. `file` is the name for diagnostics.
pub(super) fn parse(text: &str, file: &str) -> Result<Vec<Member>, Vec<Diagnostic>> {
    let mut diagnostics = Diagnostics::of(file);
    const KEYS: &str = "write version, principals and the other keys of docs/admin-api.md";
    let Some(root) = strict_yaml::tree(text, KEYS, &mut diagnostics) else { return Err(diagnostics.take()) };
    let members = read(&root, &mut diagnostics);
    diagnostics.verdict()?;
    strict_yaml::compare_readings(text, &root, &mut diagnostics);
    diagnostics.verdict()?;
    Ok(members)
}

fn read(root: &Node, diagnostics: &mut Diagnostics) -> Vec<Member> {
    let Some(file) = Fields::of(root, "the file", &FILE_KEYS, diagnostics) else { return Vec::new() };
    if let Some(node) = file.need("version", "add version: 1", diagnostics) {
        version(node, diagnostics);
    }
    let roles = file.get("roles").map(|node| read_roles(node, diagnostics)).unwrap_or_default();
    let mut members: Vec<Member> = Vec::new();
    let instead = "add principals: with a list, each item starting with \"- name:\"";
    let Some(node) = file.need("principals", instead, diagnostics) else { return members };
    let wanted = "a list, each item starting with \"- name:\"";
    let items = list(node, "principals", wanted, diagnostics).unwrap_or_default();
    if items.is_empty() {
        let message = "principals must not be empty, as no one could change the mode";
        diagnostics.add(node.at, Issue::new("", message, "add at least one"));
    }
    for item in items {
        let Some(member) = read_principal(item, &roles, diagnostics) else { continue };
        match members.iter().find_map(|earlier| clash(earlier, &member)) {
            Some(message) => {
                diagnostics.add(item.at, Issue::new(&member.principal.name, message, "remove one of them"))
            }
            None => members.push(member),
        }
    }
    members
}

/// A role with faults is defined nevertheless, so that its principals do not report it again.
fn read_roles<'n>(node: &'n Node, diagnostics: &mut Diagnostics) -> Roles<'n> {
    let written = entries(node, "roles", diagnostics).unwrap_or_default();
    written
        .into_iter()
        .map(|(key, node)| (key.name.as_str(), read_permissions(node, &format!("role {:?}", key.name), diagnostics)))
        .collect()
}

fn read_permissions(node: &Node, what: &str, diagnostics: &mut Diagnostics) -> Permissions {
    let known = || Permission::ALL.map(Permission::as_str).join(", ");
    let items = list(node, what, "a list of permissions, as in [mode:read]", diagnostics).unwrap_or_default();
    let mut permissions = Vec::new();
    for item in items {
        let Some(written) = text(item, "a permission", diagnostics) else { continue };
        match Permission::from_name(written) {
            Some(permission) => permissions.push(permission),
            None => {
                let message = format!("{written:?} is not a permission");
                diagnostics.add(item.at, Issue::new(written, message, format!("the permissions are {}", known())));
            }
        }
    }
    permissions.into_iter().collect()
}

fn read_principal(node: &Node, roles: &Roles, diagnostics: &mut Diagnostics) -> Option<Member> {
    let faults_before = diagnostics.count();
    let fields = Fields::of(node, "a principal", &PRINCIPAL_KEYS, diagnostics)?;
    let own_name = fields.need("name", "add name: with the name for history and logs", diagnostics);
    let own_name = own_name.and_then(|node| {
        let written = name(node, "name", diagnostics)?;
        if written.len() > LONGEST_NAME {
            let message = format!("the name has more than {LONGEST_NAME} bytes");
            diagnostics.add(node.at, Issue::new(written, message, "write a shorter one"));
        }
        Some(written)
    });
    let permissions = granted(node, &fields, roles, diagnostics);
    let credential = credential(node, &fields, diagnostics);
    match (own_name, credential) {
        (Some(name), Some(credential)) if diagnostics.count() == faults_before => {
            Some(Member { principal: Principal { name: name.into(), permissions }, credential })
        }
        _ => None,
    }
}

fn granted(node: &Node, fields: &Fields, roles: &Roles, diagnostics: &mut Diagnostics) -> Permissions {
    let (own_roles, own_permissions) = (fields.get("roles"), fields.get("permissions"));
    let mut permissions = Permissions::default();
    let items = own_roles.and_then(|node| list(node, "roles", "a list of roles, as in [operator]", diagnostics));
    for item in items.unwrap_or_default() {
        let Some(written) = text(item, "a role", diagnostics) else { continue };
        match roles.get(written) {
            Some(granted) => permissions = permissions.and(*granted),
            None => {
                let message = format!("role {written:?} is not defined");
                diagnostics.add(item.at, Issue::new(written, message, "define it under \"roles\""));
            }
        }
    }
    if let Some(node) = own_permissions {
        permissions = permissions.and(read_permissions(node, "permissions", diagnostics));
    }
    let is_empty = |node: Option<&Node>| node.is_none_or(|node| node.is_empty_list());
    if is_empty(own_roles) && is_empty(own_permissions) {
        let message = "a principal has no roles and no permissions";
        diagnostics.add(node.at, Issue::new("", message, "add roles: or permissions:"));
    }
    permissions
}

fn credential(node: &Node, fields: &Fields, diagnostics: &mut Diagnostics) -> Option<Credential> {
    const INSTEAD: &str = "write token_sha256, or user and password_argon2, or unix_uid, or client_certificate";
    let keys = ["token_sha256", "user", "password_argon2", "unix_uid", "client_certificate"].map(|key| fields.get(key));
    match keys {
        [Some(node), None, None, None, None] => {
            let written = text(node, "token_sha256", diagnostics)?;
            let hash = TokenHash::from_hex(written);
            if hash.is_none() {
                let instead = "`ucs-gateway token new` prints one";
                diagnostics.add(node.at, Issue::new(written, "token_sha256 must be 64 hex digits", instead));
            }
            Some(Credential::Token { hash: hash?, basic: false })
        }
        [None, Some(user), Some(hash), None, None] => password(user, hash, diagnostics),
        [None, None, None, None, Some(node)] => certificate(node, diagnostics),
        [None, None, None, Some(node), None] => {
            let uid = u32::try_from(whole_number(node, "unix_uid", diagnostics)?);
            if uid.is_err() {
                diagnostics.add(node.at, Issue::new("", "unix_uid is too large", "write the number of a user"));
            }
            uid.ok().map(Credential::UnixUid)
        }
        [None, Some(node), None, None, None] | [None, None, Some(node), None, None] => {
            let message = "user and password_argon2 must be set together";
            diagnostics.add(node.at, Issue::new("", message, "`ucs-gateway token password` prints both"));
            None
        }
        [None, None, None, None, None] => {
            diagnostics.add(node.at, Issue::new("", "a principal has no credential", INSTEAD));
            None
        }
        _ => {
            let message = "a principal has more than one kind of credential";
            diagnostics.add(node.at, Issue::new("", message, "add a principal for each"));
            None
        }
    }
}

fn certificate(node: &Node, diagnostics: &mut Diagnostics) -> Option<Credential> {
    let written = text(node, "client_certificate", diagnostics)?;
    let name = CertificateName::parse(written);
    if name.is_none() {
        let message = "client_certificate names no part of a certificate";
        let instead = "write sha256:, cn:, dns:, email: or uri: and the value, as in cn:pipeline.example";
        diagnostics.add(node.at, Issue::new(written, message, instead));
    }
    name.map(Credential::Certificate)
}

fn password(user: &Node, hash: &Node, diagnostics: &mut Diagnostics) -> Option<Credential> {
    let name = text(user, "user", diagnostics);
    if let Some(name) = name.filter(|name| name.is_empty() || name.contains(':')) {
        let message = "user must not be empty or contain a colon";
        diagnostics.add(user.at, Issue::new(name, message, "write the name that the client sends"));
        return None;
    }
    let written = text(hash, "password_argon2", diagnostics)?;
    match PasswordHash::parse(written) {
        Ok(hash) => Some(Credential::Password { user: name?.to_owned(), hash: Box::new(hash) }),
        Err(fault) => {
            let instead = "`ucs-gateway token password` prints one";
            diagnostics.add(hash.at, Issue::new("", format!("password_argon2 {fault}"), instead));
            None
        }
    }
}

/// Two principals must not share a name or a credential: the journal could not distinguish them.
fn clash(earlier: &Member, later: &Member) -> Option<String> {
    let name = &earlier.principal.name;
    if *name == later.principal.name {
        return Some(format!("the name {name:?} is already used by an earlier principal"));
    }
    let same = match (&earlier.credential, &later.credential) {
        (Credential::Token { hash: one, .. }, Credential::Token { hash: other, .. }) => one == other,
        (Credential::Password { user: one, .. }, Credential::Password { user: other, .. }) => one == other,
        (Credential::UnixUid(one), Credential::UnixUid(other)) => one == other,
        (Credential::Certificate(one), Credential::Certificate(other)) => one == other,
        _ => false,
    };
    same.then(|| format!("{:?} has the same credential or user as {name:?}", later.principal.name))
}
