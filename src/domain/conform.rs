//! Holds a sender's value against an attribute: the value the target will take, or what is wrong with it.
