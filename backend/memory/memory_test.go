package memory_test

import (
	"testing"

	"github.com/kedge-project/kedge/backend"
	"github.com/kedge-project/kedge/backend/backendtest"
	"github.com/kedge-project/kedge/backend/memory"
)

func TestMemoryConforms(t *testing.T) {
	backendtest.Run(t, func(*testing.T) backend.Backend { return memory.New() })
}
