module example.com/finance/third

go 1.19
