//! Prints the members of every Query action as JSON.

fn main() {
    println!("{:#}", api::members_json());
}
