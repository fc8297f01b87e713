module wscluster.dev/tests/cluster/gateway-api

go 1.26.0

// Nothing is built of it: its CustomResourceDefinitions are read.
require sigs.k8s.io/gateway-api v1.6.3
