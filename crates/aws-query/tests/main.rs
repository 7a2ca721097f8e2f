//! Forms, what is made of them, and answers.

mod decode;
mod form;
mod xml;
