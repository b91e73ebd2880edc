"""The model: composite, in-context layouts, prompt adapter, and the diffusers pipeline over them."""
