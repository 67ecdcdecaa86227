//! Interactions and their contents (CV.WS.IXN.2). As documented, the contents are fetched separately, and their
//! addresses in the JSON are absolute and name the stand-in's own host and port.

use serde_json::{Value, json};

use super::operations::Call;
use super::response::{Answer, Fault, Reply};
use super::store::{Interaction, Store};

/// Of one customer.
pub(super) fn of_customer(store: &mut Store, call: &Call) -> Answer {
    store.profile(call.at(1))?;
    Ok(listed(store, call, |interaction| interaction.customer_id == call.at(1)))
}

/// Of one service.
pub(super) fn of_service(store: &mut Store, call: &Call) -> Answer {
    store.service(call.at(1))?;
    Ok(listed(store, call, |interaction| interaction.service_id.to_string() == call.at(1)))
}

/// One.
pub(super) fn query(store: &mut Store, call: &Call) -> Answer {
    Ok(Reply::json(200, &shown(call, call.at(1), find(store, call)?)))
}

/// The text without markup.
pub(super) fn plain_text(store: &mut Store, call: &Call) -> Answer {
    Ok(Reply::bytes(200, "text/plain;charset=UTF-8", find(store, call)?.plain_text.clone().into()))
}

/// The text with markup.
pub(super) fn structured_text(store: &mut Store, call: &Call) -> Answer {
    Ok(Reply::bytes(200, "text/html;charset=UTF-8", find(store, call)?.structured_text.clone().into()))
}

/// The stored bytes, or with `size=N` (which UCS does not have) N bytes made while they are sent: the byte at offset
/// `i` is the letter `i % 26` of the alphabet.
pub(super) fn binary_content(store: &mut Store, call: &Call) -> Answer {
    let interaction = find(store, call)?;
    match call.parameter("size").map(str::parse) {
        None => Ok(Reply::bytes(200, "application/octet-stream", interaction.binary_content.clone())),
        Some(Ok(size)) => Ok(Reply::generated("application/octet-stream", size)),
        Some(Err(_)) => Err(Fault::bad_request("size must be a number of bytes")),
    }
}

fn find<'a>(store: &'a Store, call: &Call) -> Result<&'a Interaction, Fault> {
    store.interactions.get(call.at(1)).ok_or_else(|| Fault::not_found("interaction", call.at(1)))
}

fn listed(store: &Store, call: &Call, belongs: impl Fn(&Interaction) -> bool) -> Reply {
    let found = store.interactions.iter().filter(|(_, interaction)| belongs(interaction));
    Reply::json(200, &found.map(|(id, interaction)| shown(call, id, interaction)).collect())
}

fn shown(call: &Call, id: &str, interaction: &Interaction) -> Value {
    let mut fields = interaction.fields.clone();
    fields.insert("interaction_id".to_owned(), json!(id));
    let address = |content: &str| format!("{}/interactions/{id}/{content}", call.base_uri);
    let contents =
        [("text", "plain_text"), ("structured_text", "structured_text"), ("binary_content", "binary_content")];
    for (name, content) in contents {
        fields.insert(name.to_owned(), json!(address(content)));
    }
    Value::Object(fields)
}
