// Run once, when the server starts.
graph.createIndex('id', org.apache.tinkerpop.gremlin.structure.Vertex.class)
globals = [g: traversal().withEmbedded(graph)]
globals
