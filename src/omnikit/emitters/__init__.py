"""Components of the slot `emitter`: how a language model writes units of speech."""
