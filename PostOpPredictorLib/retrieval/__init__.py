"""Finding operated cases like the query: packed masks, the slice index, and the strategies."""
