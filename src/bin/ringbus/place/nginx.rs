//! The rings of an nginx configuration: `upstream` blocks with `hash KEY consistent`.

use anyhow::{Result, bail};

use super::from::Pool;
use ringbus::{Mode, RingSpec};

/// The upstreams with a `hash`, in the order of the file.
pub(super) fn pools(text: &str) -> Result<Vec<Pool>> {
    let (mut pools, mut upstream, mut depth) = (Vec::new(), None::<(Upstream, usize)>, 0_usize);
    for (line, directive) in directives(text)? {
        match directive {
            Directive::Block(words) => {
                depth += 1;
                if let [name, label] = words.as_slice()
                    && name == "upstream"
                {
                    upstream = Some((Upstream { name: label.clone(), ..Upstream::default() }, depth));
                }
            }
            Directive::End => {
                if let Some((ended, _)) = upstream.take_if(|(_, outer)| *outer == depth) {
                    pools.extend(ended.pool());
                }
                match depth.checked_sub(1) {
                    Some(outer) => depth = outer,
                    None => bail!("line {line} has a brace that closes nothing"),
                }
            }
            Directive::Simple(words) => {
                if let Some((upstream, inner)) = &mut upstream
                    && *inner == depth
                {
                    upstream.take(line, &words)?;
                }
            }
        }
    }
    if depth > 0 {
        bail!("a block is not closed at the end");
    }
    Ok(pools)
}

#[derive(Default)]
struct Upstream {
    name: String,
    /// Whether there is a `hash`, and whether it is consistent.
    hash: Option<bool>,
    nodes: Vec<(String, f64)>,
    down: Vec<String>,
}

impl Upstream {
    fn take(&mut self, line: usize, words: &[String]) -> Result<()> {
        match words {
            [name, _, rest @ ..] if name == "hash" => {
                self.hash = Some(rest.iter().any(|word| word == "consistent"));
            }
            [name, server, parameters @ ..] if name == "server" => {
                let mut weight = 1;
                for text in parameters.iter().filter_map(|word| word.strip_prefix("weight=")) {
                    weight = match text.parse::<u32>() {
                        Ok(weight) if weight > 0 => weight,
                        _ => bail!("line {line}: {text:?} is not a weight: nginx takes whole numbers from 1"),
                    };
                }
                if parameters.iter().any(|word| word == "down") {
                    self.down.push(server.clone());
                } else {
                    self.nodes.push((server.clone(), f64::from(weight)));
                }
            }
            [name, file, ..] if name == "include" => bail!(
                "line {line} includes {file:?} in an upstream: give what 'nginx -T' prints, where includes are resolved"
            ),
            _ => {}
        }
        Ok(())
    }

    fn pool(self) -> Option<Pool> {
        let refused = (!self.hash?)
            .then(|| "it hashes without 'consistent', which is modulo the weights and no ring".to_owned());
        let notes = self.down.iter().map(|server| format!("{server:?} is down, and not in the ring"));
        let notes = notes.collect();
        let spec = RingSpec { mode: Mode::Nginx, nodes: self.nodes, keys: None };
        Some(Pool { name: self.name, spec, notes, refused })
    }
}

enum Directive {
    Simple(Vec<String>),
    Block(Vec<String>),
    End,
}

/// The directives with the lines on which they end.
fn directives(text: &str) -> Result<Vec<(usize, Directive)>> {
    let (mut found, mut words, mut line) = (Vec::new(), Vec::new(), 1);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\n' => line += 1,
            '#' => while letters.next_if(|&letter| letter != '\n').is_some() {},
            ';' => found.push((line, Directive::Simple(std::mem::take(&mut words)))),
            '{' => found.push((line, Directive::Block(std::mem::take(&mut words)))),
            '}' => found.push((line, Directive::End)),
            '"' | '\'' => {
                let (mut word, started) = (String::new(), line);
                loop {
                    match letters.next() {
                        Some(end) if end == letter => break,
                        Some('\\') => word.extend(letters.next()),
                        Some(letter) => word.push(letter),
                        None => bail!("a quotation that begins on line {started} does not end"),
                    }
                    line += usize::from(word.ends_with('\n'));
                }
                words.push(word);
            }
            blank if blank.is_whitespace() => {}
            first => {
                let mut word = String::from(first);
                // The brace of ${name} begins no block.
                while let Some(next) = letters.next_if(|&letter| {
                    !letter.is_whitespace()
                        && letter != ';'
                        && (letter != '{' || word.ends_with('$'))
                        && (letter != '}' || word.contains("${"))
                }) {
                    word.push(next);
                }
                words.push(word);
            }
        }
    }
    Ok(found)
}
