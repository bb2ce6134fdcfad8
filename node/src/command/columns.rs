//! Cells in columns, for eyes.

/// Spaces between two columns.
const GAP: &str = "  ";

/// The text as it may go to a terminal: control characters, which labels may have, are escaped.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Rows with a head. Columns are as wide as their widest cell; the last one, and those of numbers, are to the right.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let widths: Vec<usize> =
        (0..columns).map(|c| cells(c).map(|cell| cell.chars().count()).max().unwrap_or(0)).collect();
    let is_right = |column: usize| {
        column + 1 == columns
            || cells(column).skip(1).all(|c| c.is_empty() || c.trim_end_matches(" %").parse::<f64>().is_ok())
    };
    let right: Vec<bool> = (0..columns).map(is_right).collect();
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let fill = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
            let gap = if column == 0 { "" } else { GAP };
            if right[column] { line.extend([gap, &fill, cell]) } else { line.extend([gap, cell, &fill]) }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_to_the_right() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [row(["A", "COUNT", "LAST"]), row(["long", "7", "x"]), row(["b", "", "yy"])];
        assert_eq!(aligned(&rows), "A     COUNT  LAST\nlong      7     x\nb              yy\n");
        assert_eq!(aligned(&[]), "");
    }

    #[test]
    fn nothing_in_a_cell_steers_the_terminal() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        assert_eq!(
            aligned(&[row(["A\nB", "VALUE"]), row(["\u{1b}[31mé", "1"])]),
            "A\\nB         VALUE\n\\u{1b}[31mé      1\n"
        );
    }
}
