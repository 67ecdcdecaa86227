//! YAML text → a tree whose nodes carry their line and column. serde_yaml decides the type of a plain scalar (text, number,
//! true, null). Anchors, aliases and tags are rejected, so a short file cannot become a large tree.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput, Tag};
use serde_yaml::Value;

use super::diagnostic::Span;
use crate::policy::table::Issue;

/// The maximum nesting of a file. The format needs four levels.
const DEPTH_LIMIT: usize = 16;

/// A value with its span.
pub(crate) struct Node {
    pub at: Span,
    pub content: Content,
}

pub(crate) enum Content {
    /// Null, a boolean, a number or text.
    Scalar(Value),
    List(Vec<Node>),
    /// In the order of the file. It may repeat a key; `fields` rejects that.
    Map(Vec<(Key, Node)>),
}

/// A key of a map with its span.
pub(crate) struct Key {
    pub at: Span,
    pub name: String,
}

/// The single document of `text`, or the first issue that makes it unreadable.
pub(crate) fn read(text: &str, keys: &str) -> Result<Node, (Span, Issue)> {
    let mut reader = Reader { parser: Parser::new_from_str(text), last: Span::START };
    let root = loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
            (Event::StreamEnd, at) => return Err((at, Issue::new("", "the file is empty", keys))),
            (event, at) => break reader.node(event, at, 0)?,
        }
    };
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => return Ok(root),
            (Event::DocumentStart(_), at) => {
                return Err((at, Issue::new("---", "a second document begins here", "write one document per file")));
            }
            _ => {}
        }
    }
}

impl Node {
    /// Whether it is a list without items.
    pub(crate) fn is_empty_list(&self) -> bool {
        matches!(&self.content, Content::List(items) if items.is_empty())
    }

    /// The same tree without spans.
    pub(crate) fn to_value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => Value::Sequence(items.iter().map(Node::to_value).collect()),
            Content::Map(entries) => {
                let entry = |(key, node): &(Key, Node)| (Value::String(key.name.clone()), node.to_value());
                Value::Mapping(entries.iter().map(entry).collect())
            }
        }
    }
}

struct Reader<'t> {
    parser: Parser<'t, StrInput<'t>>,
    last: Span,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), (Span, Issue)> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                self.last = start_of(&span.start);
                Ok((event, self.last))
            }
            Some(Err(error)) => {
                let at = start_of(error.marker());
                let message = format!("this is not YAML: {}", error.info());
                Err((at, Issue::new("", message, "check indentation, quotes and brackets here and just above")))
            }
            None => Ok((Event::StreamEnd, self.last)),
        }
    }

    fn node(&mut self, event: Event<'t>, at: Span, depth: usize) -> Result<Node, (Span, Issue)> {
        if depth > DEPTH_LIMIT {
            return Err((
                at,
                Issue::new("", format!("nested deeper than {DEPTH_LIMIT} levels"), "the formats need four"),
            ));
        }
        let content = match event {
            Event::Scalar(text, style, anchor, tag) => {
                reject_anchor_and_tag(anchor, tag.as_deref(), at)?;
                Content::Scalar(scalar(&text, style))
            }
            Event::SequenceStart(anchor, tag) => {
                reject_anchor_and_tag(anchor, tag.as_deref(), at)?;
                self.list(depth)?
            }
            Event::MappingStart(anchor, tag) => {
                reject_anchor_and_tag(anchor, tag.as_deref(), at)?;
                self.map(depth)?
            }
            Event::Alias(_) => return Err((at, alias())),
            _ => return Err((at, Issue::new("", "this is not YAML: a value is missing", ""))),
        };
        Ok(Node { at, content })
    }

    fn list(&mut self, depth: usize) -> Result<Content, (Span, Issue)> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Content::List(items)),
                (event, at) => items.push(self.node(event, at, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Content, (Span, Issue)> {
        let mut entries = Vec::new();
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Content::Map(entries)),
                (event, at) => self.node(event, at, depth + 1)?,
            };
            let Content::Scalar(Value::String(name)) = key.content else {
                return Err((
                    key.at,
                    Issue::new("", "a key is not text", "write a name, in quotes if it looks like a number"),
                ));
            };
            let (event, at) = self.next()?;
            entries.push((Key { at: key.at, name }, self.node(event, at, depth + 1)?));
        }
    }
}

fn start_of(marker: &Marker) -> Span {
    Span { line: marker.line(), column: marker.col() + 1 }
}

fn reject_anchor_and_tag(anchor: usize, tag: Option<&Tag>, at: Span) -> Result<(), (Span, Issue)> {
    if anchor != 0 {
        return Err((at, alias()));
    }
    match tag {
        None => Ok(()),
        Some(tag) => {
            let written = format!("{}{}", tag.handle, tag.suffix);
            Err((at, Issue::new(&written, format!("YAML tags ({written}) are not allowed"), "remove the tag")))
        }
    }
}

fn alias() -> Issue {
    Issue::new("", "YAML anchors and aliases (&name, *name) are not allowed", "repeat the value in each place")
}

/// Quoted and block scalars are text; serde_yaml decides the type of a plain one.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::String(text.to_owned());
    }
    if text.is_empty() {
        return Value::Null;
    }
    match serde_yaml::from_str::<Value>(text) {
        Ok(value @ (Value::Null | Value::Bool(_) | Value::Number(_))) => value,
        _ => Value::String(text.to_owned()),
    }
}
