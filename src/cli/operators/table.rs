//! Tables of the commands of operators. The head is bold on a terminal.

use std::io::IsTerminal;

/// Prints rows in aligned columns. The last column is not padded.
pub(super) fn print(head: &[&str], rows: &[Vec<String>]) {
    let is_terminal = std::io::stdout().is_terminal();
    let head: Vec<String> = head.iter().map(|title| (*title).to_owned()).collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let cells = std::iter::once(&head).chain(rows).filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let (bold, off) = if is_terminal { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    println!("{bold}{}{off}", line(&head, &widths));
    for row in rows {
        println!("{}", line(row, &widths));
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
    padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn columns_are_aligned_by_characters() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        assert_eq!(line(&row(&["+44•••23", "x"]), &[9, 3]), "+44•••23   x");
        assert_eq!(line(&row(&["a", ""]), &[2, 3]), "a");
    }
}
