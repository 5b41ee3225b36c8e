"""`dqrun bench`: times of our networks beside the same networks written with PyG's own layers."""
