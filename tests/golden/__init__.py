"""Golden data: numbers computed once by the original systems, against which the components are held."""
