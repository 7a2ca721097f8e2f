//! What the text of the table says.
