//! YAML text → a tree whose every node knows its line and column. What a plain scalar means (text, number, true, null)
//! is serde_yaml's word. Anchors, aliases and tags are refused, so a short file cannot become a large tree.

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};
use serde_yaml::Value;

use super::diagnostic::{Flaw, Place};

/// How deep a file may nest. The format needs four levels.
const DEPTH_LIMIT: usize = 16;

/// A value with its place.
pub(super) struct Node {
    pub at: Place,
    pub content: Content,
}

pub(super) enum Content {
    /// Null, a boolean, a number or text.
    Scalar(Value),
    List(Vec<Node>),
    /// In the order of the file; a key may stand twice, which is for the reader to refuse.
    Map(Vec<(Key, Node)>),
}

/// A key of a map with its place.
pub(super) struct Key {
    pub at: Place,
    pub name: String,
}

/// The one document of `text`, or the first thing that makes it unreadable.
pub(super) fn read(text: &str) -> Result<Node, (Place, Flaw)> {
    let mut reader = Reader { parser: Parser::new_from_str(text), last: Place { line: 1, column: 1 } };
    let root = loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
            (Event::StreamEnd, at) => return Err((at, Flaw::new("", "the file is empty", EMPTY))),
            (event, at) => break reader.node(event, at, 0)?,
        }
    };
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => return Ok(root),
            (Event::DocumentStart(_), at) => {
                return Err((at, Flaw::new("---", "a second document begins", "write one document in a file")));
            }
            _ => {}
        }
    }
}

const EMPTY: &str = "write version, routes and what else docs/routes.md describes";

impl Node {
    /// The same tree without places.
    pub fn to_value(&self) -> Value {
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
    last: Place,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Place), (Place, Flaw)> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                self.last = place(&span);
                Ok((event, self.last))
            }
            Some(Err(error)) => {
                let at = Place { line: error.marker().line(), column: error.marker().col() + 1 };
                let message = format!("this is not YAML: {}", error.info());
                Err((at, Flaw::new("", message, "check indentation, quotes and brackets here and just above")))
            }
            None => Ok((Event::StreamEnd, self.last)),
        }
    }

    fn node(&mut self, event: Event<'t>, at: Place, depth: usize) -> Result<Node, (Place, Flaw)> {
        if depth > DEPTH_LIMIT {
            return Err((
                at,
                Flaw::new("", format!("nested deeper than {DEPTH_LIMIT} levels"), "the format needs four"),
            ));
        }
        let content = match event {
            Event::Scalar(text, style, anchor, tag) => {
                refuse_anchor_and_tag(anchor, tag.as_deref(), at)?;
                Content::Scalar(scalar(&text, style))
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_anchor_and_tag(anchor, tag.as_deref(), at)?;
                self.list(depth)?
            }
            Event::MappingStart(anchor, tag) => {
                refuse_anchor_and_tag(anchor, tag.as_deref(), at)?;
                self.map(depth)?
            }
            Event::Alias(_) => return Err((at, alias())),
            _ => return Err((at, Flaw::new("", "this is not YAML: a value is missing", ""))),
        };
        Ok(Node { at, content })
    }

    fn list(&mut self, depth: usize) -> Result<Content, (Place, Flaw)> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Content::List(items)),
                (event, at) => items.push(self.node(event, at, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Content, (Place, Flaw)> {
        let mut entries = Vec::new();
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Content::Map(entries)),
                (event, at) => self.node(event, at, depth + 1)?,
            };
            let Content::Scalar(Value::String(name)) = key.content else {
                return Err((
                    key.at,
                    Flaw::new("", "a key is not text", "write a name, in quotes if it looks like a number"),
                ));
            };
            let (event, at) = self.next()?;
            entries.push((Key { at: key.at, name }, self.node(event, at, depth + 1)?));
        }
    }
}

fn place(span: &Span) -> Place {
    Place { line: span.start.line(), column: span.start.col() + 1 }
}

fn refuse_anchor_and_tag(anchor: usize, tag: Option<&Tag>, at: Place) -> Result<(), (Place, Flaw)> {
    if anchor != 0 {
        return Err((at, alias()));
    }
    match tag {
        None => Ok(()),
        Some(tag) => {
            let written = format!("{}{}", tag.handle, tag.suffix);
            Err((at, Flaw::new(&written, format!("a YAML tag ({written})"), "remove it; no value here needs one")))
        }
    }
}

fn alias() -> Flaw {
    Flaw::new("", "YAML anchors and aliases (&name, *name) are not allowed", "write the value out where it is needed")
}

/// Quoted and block scalars are text; a plain one is what serde_yaml takes it for.
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
