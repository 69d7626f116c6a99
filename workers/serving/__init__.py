"""What the recipe `serve` is made of. Knows neither the database nor the Job."""
