"""`dqrun bench`: compares the speed of dqrun's networks with the same networks in PyG, DGL and ONNX Runtime."""
