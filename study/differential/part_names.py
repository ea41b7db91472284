"""The parts of an encoder-decoder that are compared: what files call them, and what words do."""

ENCODER, DECODER, CROSS = "encoder", "decoder", "cross"
PARTS = (ENCODER, DECODER, CROSS)
NAMES = {
    ENCODER: "encoder self-attention",
    DECODER: "decoder self-attention",
    CROSS: "cross attention",
}
