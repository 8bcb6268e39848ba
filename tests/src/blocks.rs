//! Fenced code blocks of Markdown files, with what they promise.

/// A block marked `ppl`.
#[derive(Clone, Debug)]
pub struct Block {
    /// Line of its first line, from 1.
    pub line: usize,
    /// Its text.
    pub text: String,
    /// Codes after `# error:`; every diagnostic has one of them.
    pub errors: Vec<String>,
}

/// All blocks of a page that are marked `ppl`.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut out: Vec<Block> = Vec::new();
    let mut open: Option<Block> = None;
    for (i, line) in page.lines().enumerate() {
        match &mut open {
            Some(_) if line.trim_start().starts_with("```") => out.extend(open.take()),
            Some(b) => {
                if let Some(codes) = line.split_once("# error:").map(|(_, c)| c) {
                    b.errors.extend(codes.split([',', ' ']).map(str::trim).filter(|c| !c.is_empty()).map(String::from));
                }
                b.text.push_str(line);
                b.text.push('\n');
            }
            None if line.trim_start().starts_with("```ppl") => {
                open = Some(Block { line: i + 2, text: String::new(), errors: Vec::new() });
            }
            None => {}
        }
    }
    out
}

/// Expressions with a promised type, one a line: `zeros(3)  # type: real[3]`.
pub fn typed(block: &Block) -> Vec<(usize, String, String)> {
    block
        .text
        .lines()
        .enumerate()
        .filter_map(|(i, l)| {
            let (e, t) = l.split_once("# type:")?;
            Some((block.line + i, e.trim().to_string(), t.trim().to_string()))
        })
        .collect()
}
