//! What operators are told about their mistakes, to the letter.
